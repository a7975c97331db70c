"""What is said about secrets."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class NewSecret(BaseModel):
    """A key as its place gave it out."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    value: SecretStr = Field(min_length=1, max_length=4096, description="Sealed at once; nobody can read it back")
