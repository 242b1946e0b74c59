"""Errors of import schedules."""

from app.platform.errors import DomainError


class ScheduleNotFoundError(DomainError):
    """No import schedule has this id."""

    status, name, title = 404, "schedule-not-found", "There is no such import schedule"
