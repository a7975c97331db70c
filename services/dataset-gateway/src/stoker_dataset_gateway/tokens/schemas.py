"""What the routes of tokens answer."""

from datetime import datetime

from pydantic import BaseModel, Field


class RenewedDownload(BaseModel):
    """A fresh address of the dataset of a job."""

    download_url: str = Field(repr=False)
    expires_at: datetime
    sha256: str
    size_bytes: int
    filename: str
