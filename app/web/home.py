"""`/`: the console for people, a short index for programs."""

from importlib.metadata import version

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

INDEX = {
    "name": "Voucher Pools",
    "version": version("voucher-pools"),
    "api": "/v1",
    "openapi": "/openapi.json",
    "docs": "/docs",
    "console": "/console",
    "health": {"live": "/health/live", "ready": "/health/ready"},
}


async def home(request: Request) -> Response:
    """Lead to the console, or tell a program that asks for JSON where everything is."""
    asked = request.headers.get("accept", "")
    about: Response = RedirectResponse("/console/", 303)
    if "application/json" in asked and "text/html" not in asked:
        about = JSONResponse(INDEX)
    about.headers["Vary"] = "Accept"
    return about
