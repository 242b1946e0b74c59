"""Parameters that many routes have in common."""

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator

from app.domain.persons.ids import CustomerId
from app.schema.names import nfc
from app.schema.texts import Code
from app.web.slashes import whole


def _name(name: str) -> str:
    if "\x00" in name:
        raise ValueError("a name has no NUL")
    return nfc(whole(name))


PoolPath = Annotated[
    str, AfterValidator(_name), Path(description="Name of the pool", examples=["spring_sale"])
]
ProjectPath = Annotated[
    str, AfterValidator(_name), Path(description="Name of the project", examples=["shop_cz"])
]
CodePath = Annotated[Code, Path(description="The code")]
CustomerPath = Annotated[CustomerId, Path(description="Id of the customer", examples=["c-1"])]
