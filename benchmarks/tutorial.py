"""Y2, the tutorial service: an endpoint in a thread, an ORM session, the first available by id, commit, refresh."""

import os
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

# A connection for each thread of the framework's: with fewer, threads that wait for one keep those that have one from
# giving it back, and all of them stand still.
engine = create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg://"), pool_size=40, max_overflow=0)
app = FastAPI()


class Base(DeclarativeBase):
    """The tutorial's tables."""


class Voucher(Base):
    """A code and who has it."""

    __tablename__ = "tutorial_voucher"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(index=True)
    customer_id: Mapped[str | None]


class Request(BaseModel):
    """Whom a code is for."""

    customer_id: str


class Reply(BaseModel):
    """A code."""

    id: int
    code: str
    customer_id: str


def session() -> Iterator[Session]:
    """Give a session for the request."""
    with Session(engine) as opened:
        yield opened


@app.post("/assign", status_code=201, response_model=Reply)
def assign(body: Request, db: Annotated[Session, Depends(session)]) -> Voucher:
    """Hand out the first available code."""
    voucher = db.scalars(
        select(Voucher)
        .where(Voucher.status == "available")
        .order_by(Voucher.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if voucher is None:
        raise HTTPException(409)
    voucher.status = "assigned"
    voucher.customer_id = body.customer_id
    db.commit()
    db.refresh(voucher)
    return voucher
