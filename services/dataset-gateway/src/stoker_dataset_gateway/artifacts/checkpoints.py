"""Which artifacts are checkpoints: `checkpoints/<step>/...`, whole once `complete.json` is there."""

import re
from collections.abc import Iterable

from stoker_dataset_gateway.artifacts.tables import Artifact

PREFIX = "checkpoints/"
MANIFEST = "complete.json"
_NAME = re.compile(r"checkpoints/(\d{1,18})/(.+)", re.ASCII)

Checkpoint = tuple[int, int]
"""Attempt and step. The later attempt is the newer one: it began where the earlier had got to, or from the start."""


def checkpoint_of(artifact: Artifact) -> Checkpoint | None:
    """The checkpoint that a file belongs to."""
    found = _NAME.fullmatch(artifact.name)
    return (artifact.attempt, int(found[1])) if found else None


def whole_checkpoints(artifacts: Iterable[Artifact]) -> list[tuple[Checkpoint, list[Artifact]]]:
    """The whole checkpoints of a job with their files by name, the newest first."""
    files: dict[Checkpoint, list[Artifact]] = {}
    for artifact in artifacts:
        if checkpoint := checkpoint_of(artifact):
            files.setdefault(checkpoint, []).append(artifact)
    return [
        (checkpoint, sorted(files[checkpoint], key=lambda artifact: artifact.name))
        for checkpoint in sorted(files, reverse=True)
        if any(_is_manifest(artifact) for artifact in files[checkpoint])
    ]


def superseded(artifacts: Iterable[Artifact], *, keep: int) -> list[Artifact]:
    """Files of the checkpoints of a job that are older than its newest `keep` whole ones, manifests first.

    A checkpoint that is newer and not whole yet is on its way, and stays.
    """
    by_checkpoint = [(checkpoint, artifact) for artifact in artifacts if (checkpoint := checkpoint_of(artifact))]
    whole = sorted({checkpoint for checkpoint, artifact in by_checkpoint if _is_manifest(artifact)}, reverse=True)
    if len(whole) < keep:
        return []
    oldest_kept = whole[keep - 1]
    old = [artifact for checkpoint, artifact in by_checkpoint if checkpoint < oldest_kept]
    # Should only some of them go in one step, none of the rest may look whole.
    return sorted(old, key=lambda artifact: not _is_manifest(artifact))


def _is_manifest(artifact: Artifact) -> bool:
    found = _NAME.fullmatch(artifact.name)
    return bool(found and found[2] == MANIFEST)
