"""`/health`: whether the process lives, and whether it can work."""

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import text

from app.database import statement
from app.dependencies import Engine
from app.errors import DatabaseUnavailableError
from app.problems import problems

router = APIRouter(prefix="/health", tags=["operation"])


class Health(BaseModel):
    """How the service is."""

    status: str = Field(description="`ok`", examples=["ok"])


@router.get("/live", response_model=Health)
async def live() -> dict[str, str]:
    """The process answers; restart it where it does not."""
    return {"status": "ok"}


@router.get("/ready", response_model=Health, responses=problems(DatabaseUnavailableError))
async def ready(engine: Engine) -> dict[str, str]:
    """The database answers too: send traffic. 503 where it does not."""
    async with statement(engine) as connection:
        await connection.execute(text("SELECT 1 FROM pool LIMIT 1"))
    return {"status": "ok"}
