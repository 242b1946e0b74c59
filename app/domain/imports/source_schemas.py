"""Where the rows of an import come from, on the wire."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from app.schema.texts import Input, Properties

Url = Annotated[str, StringConstraints(min_length=1, max_length=8000, pattern=r"^[^\x00-\x20]+$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]


class TextSource(Input):
    """Pasted text."""

    type: Literal["text"] = Field(description="The kind of source")
    text: str = Field(description="The rows")


class UrlSource(Input):
    """A file at a URL, fetched by HTTP or HTTPS."""

    type: Literal["url"] = Field(description="The kind of source")
    url: Annotated[Url, StringConstraints(pattern=r"^https?://[^\x00-\x20]+$")] = Field(
        description="URL of the file"
    )


class DatabaseSource(Input):
    """A query on a database."""

    type: Literal["database"] = Field(description="The kind of source")
    url: Url = Field(
        description="SQLAlchemy URL; its password is stored encrypted, or is `${env:VOUCHERS_SOURCE_…}`"
    )
    query: str = Field(min_length=1, max_length=100_000, pattern=r"^[^\x00]*$", description="A single SELECT")


class StorageSource(Input):
    """A file in a storage: `s3://`, `gs://`, `sftp://`, or `file:` in the folder that imports may read."""

    type: Literal["storage"] = Field(description="The kind of source")
    url: Url = Field(description="Where it is")
    options: dict[str, object] | None = Field(default=None, description="Credentials; stored encrypted")


class AnalysisSource(Input):
    """A selection over the service's own customers or events."""

    type: Literal["analysis"] = Field(description="The kind of source")
    of: Literal["customers", "events"] = Field(description="What is selected from")
    property: Name = Field(description="Property that holds the code")
    event_type: Name | None = Field(default=None, description="Only events of this type")
    where: Properties | None = Field(default=None, description="Only those with these properties")

    @model_validator(mode="after")
    def _type_of_events_only(self) -> "AnalysisSource":
        if self.event_type is not None and self.of == "customers":
            raise ValueError("`event_type` goes with events, not with customers")
        return self


RemoteSource = Annotated[
    UrlSource | DatabaseSource | StorageSource | AnalysisSource, Field(discriminator="type")
]
Source = Annotated[
    TextSource | UrlSource | DatabaseSource | StorageSource | AnalysisSource, Field(discriminator="type")
]
