"""What a trainer is told about artifacts."""

from pydantic import BaseModel


class CheckpointsPruned(BaseModel):
    """How many files went."""

    deleted_files: int
