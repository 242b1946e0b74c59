"""Previews of imports on the wire."""

from typing import Literal

from pydantic import BaseModel, Field


class Column(BaseModel):
    """A column of a file."""

    index: int = Field(description="From 0")
    name: str | None = Field(description="Its name in the header")
    suggested: bool = Field(description="Whether it is the likeliest one to hold the codes")


class PreviewWarning(BaseModel):
    """What to know of a file before it is imported."""

    reason: Literal[
        "column",
        "has_header",
        "not_a_list",
        "suspicious",
        "columns_not_imported",
        "skipped",
        "empty",
    ] = Field(description="`column`, `has_header` and `not_a_list` have to be answered before an import")
    text: str = Field(description="What it is, and what to give")


class Preview(BaseModel):
    """How a file is read, and its first rows."""

    encoding: str | None = Field(description="Encoding; null for a spreadsheet")
    delimiter: str | None = Field(description="Delimiter; null for a single column")
    quote: str | None = Field(description="Quote character")
    has_header: bool = Field(description="Whether the first row names the columns")
    header: list[str] | None = Field(description="The names of the columns")
    rows: list[list[str]] = Field(description="The first five rows below the header")
    columns: list[Column] = Field(
        description="The columns; none is suggested where the file does not show which one holds the codes"
    )
    columns_not_imported: list[str] | None = Field(
        description="Columns beside the suggested one; null where none is suggested"
    )
    skipped: list[str] = Field(description="Comment, title and blank lines before the table")
    warnings: list[PreviewWarning] = Field(description="What has to be decided, and what looks wrong")
