"""What a user sends to begin an upload."""

from pydantic import BaseModel, ConfigDict, Field

from stoker_shared.rpc.dataset_gateway import OpenUpload, Sha256


class NewDataset(BaseModel):
    """A file that is to be uploaded. Its bytes go to the dataset gateway, never through the api."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=200)
    filename: str = Field(min_length=1, max_length=255)
    size_bytes: int = Field(ge=0)
    sha256: Sha256
    convert: bool = Field(default=True, description="Take rows of other known forms, where nothing is lost by it")

    def request_of(self, owner: str) -> OpenUpload:
        """The question to the gateway."""
        return OpenUpload(owner=owner, **self.model_dump())
