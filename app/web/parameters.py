"""Parameters that many routes have in common."""

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator

from app.domain.persons.ids import CustomerId
from app.schema.names import nfc
from app.schema.texts import Identifier, clean_code
from app.web.slashes import STAND_IN


def _pool(name: str) -> str:
    if "\x00" in name:
        raise ValueError("a pool's name has no NUL")
    return nfc(name).replace(STAND_IN, "/")


PoolPath = Annotated[
    str, AfterValidator(_pool), Path(description="Name of the pool", examples=["spring_sale"])
]
CodePath = Annotated[Identifier, AfterValidator(clean_code), Path(description="The code")]
CustomerPath = Annotated[CustomerId, Path(description="Id of the customer", examples=["c-1"])]
