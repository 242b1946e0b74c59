"""The members of a problem document (RFC 9457), written here alone; no framework is needed to tell one."""

MEDIA_TYPE = "application/problem+json"


def members(name: str, title: str, status: int, detail: str) -> dict[str, object]:
    """Return what every problem says; whoever tells it may add where it was met, and more."""
    return {"type": f"/problems/{name}", "title": title, "status": status, "detail": detail}
