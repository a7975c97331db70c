"""What a pod is told about the checkpoints of its job."""

from pydantic import BaseModel, Field


class CheckpointFile(BaseModel):
    """One file. Its bytes are at `checkpoints/{attempt}/{step}/{name}` below the job."""

    name: str
    sha256: str
    size_bytes: int


class CheckpointFacts(BaseModel):
    """A whole checkpoint: `complete.json` is among its files and names the run that may go on from it."""

    job_id: str
    attempt: int = Field(description="Which attempt has stored it")
    step: int
    files: list[CheckpointFile]
