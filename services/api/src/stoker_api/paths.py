"""Identifiers in paths. A malformed one is answered like an unknown one: 404."""

from typing import Annotated

from fastapi import Depends, Path

from stoker_shared.errors import NotFound
from stoker_shared.identifiers import is_identifier


def dataset_version_in_path(dataset_version_id: Annotated[str, Path()]) -> str:
    """A dataset version's id, free of what could address another subject."""
    return _checked("dataset", dataset_version_id)


def job_in_path(job_id: Annotated[str, Path()]) -> str:
    """A job's id."""
    if not is_identifier(job_id, "job"):
        raise NotFound("job", job_id)
    return job_id


def artifact_in_path(artifact_id: Annotated[str, Path()]) -> str:
    """An artifact's id."""
    return _checked("artifact", artifact_id)


def _checked(kind: str, identifier: str) -> str:
    # The kind before the dash is the gateway's choice.
    if not is_identifier(identifier, identifier.partition("-")[0]):
        raise NotFound(kind, identifier)
    return identifier


DatasetVersionPath = Annotated[str, Depends(dataset_version_in_path)]
JobPath = Annotated[str, Depends(job_in_path)]
ArtifactPath = Annotated[str, Depends(artifact_in_path)]
