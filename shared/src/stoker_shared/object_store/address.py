"""Where the object store is, and the settings that say so."""

from dataclasses import dataclass

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is and how to sign in. `endpoint` is host:port without scheme."""

    endpoint: str
    access_key: SecretStr
    secret_key: SecretStr
    bucket: str
    region: str
    is_secure: bool


class StoreSettings(BaseSettings):
    """A part of the settings of a service that keeps objects: `S3_*` after its own prefix."""

    s3_endpoint: str = Field(pattern=r"^[^/\s]+$", description="host:port, without scheme")
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    s3_bucket: str = Field(default="stoker", pattern=r"^[a-z0-9][a-z0-9.-]{2,62}$")
    s3_secure: bool = False
    s3_region: str = "us-east-1"

    @property
    def store_address(self) -> StoreAddress:
        """Where the object store is."""
        return StoreAddress(
            endpoint=self.s3_endpoint,
            access_key=self.s3_access_key,
            secret_key=self.s3_secret_key,
            bucket=self.s3_bucket,
            region=self.s3_region,
            is_secure=self.s3_secure,
        )
