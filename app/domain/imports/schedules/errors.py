"""Errors of import schedules."""

from app.platform.errors import DomainError


class PoolHasSchedulesError(DomainError):
    """Import schedules would bring the pool back; `schedules` names them."""

    status, name, title = 409, "pool-has-schedules", "Import schedules would bring the pool back"


class ScheduleNotFoundError(DomainError):
    """No import schedule has this id."""

    status, name, title = 404, "schedule-not-found", "There is no such import schedule"
