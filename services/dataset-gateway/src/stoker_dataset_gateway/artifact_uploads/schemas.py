"""What a trainer sends and is told about an upload by parts."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from stoker_shared.rpc.dataset_gateway import ArtifactFacts, Sha256

# PostgreSQL's bigint, so that an absurd size is a fault of the request.
MAX_BIGINT = 2**63 - 1


class BeginUpload(BaseModel):
    """The file that will come."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    size_bytes: int = Field(ge=1, le=MAX_BIGINT, description="An empty file has no parts: PUT it whole")
    sha256: Sha256


class UploadBegun(BaseModel):
    """Where to go on. With `artifact` the same content is stored under this name already: send nothing."""

    upload_id: str | None = None
    part_bytes: int = Field(description="Bytes of every part but the last")
    part_count: int
    parts_stored: list[int] = Field(default_factory=list, description="Numbers of the parts that are there, from 1")
    artifact: ArtifactFacts | None = None


class PartStored(BaseModel):
    """One part is in the store."""

    number: int
    sha256: Sha256


class UploadChecked(BaseModel):
    """The whole is being read back. Ask again after `Retry-After` seconds."""

    state: str = "checking"
    checked_bytes: int
    size_bytes: int
