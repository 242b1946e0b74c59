"""Erasure on the wire."""

from pydantic import BaseModel, Field


class ErasureOut(BaseModel):
    """What was erased. Codes stay as they are, and so do all counts."""

    customers: int = Field(description="Customer records deleted")
    events: int = Field(description="Events deleted")
    assignments: int = Field(description="Assignments from which customer and message were removed")
    redemptions: int = Field(description="Redemptions from which customer and event were removed")
