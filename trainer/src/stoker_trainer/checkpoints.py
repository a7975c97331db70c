"""Checkpoints that are known to be whole: a seal with every file's size is written last."""

import os
from pathlib import Path

from stoker_trainer.files import read_json, write_json

SEAL = "stoker_seal.json"
NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt")


def seal_checkpoint(folder: Path, *, fingerprint: str) -> None:
    """Mark a checkpoint as whole and as belonging to the run `fingerprint` (configuration and data)."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file() and path.name != SEAL}
    for name in sizes:
        _sync(folder / name)
    write_json(folder / SEAL, {"fingerprint": fingerprint, "sizes": sizes})


def last_whole_checkpoint(folder: Path, *, fingerprint: str) -> Path | None:
    """The newest checkpoint of this very run that is sealed and unchanged in size, or None."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    found.sort(key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in found if _is_whole(path, fingerprint)), None)


def checkpoint_step(folder: Path) -> int:
    """The step after which a checkpoint was taken."""
    return int(folder.name.rpartition("-")[2])


def _is_whole(folder: Path, fingerprint: str) -> bool:
    seal = read_json(folder / SEAL)
    if not isinstance(seal, dict) or seal.get("fingerprint") != fingerprint:
        return False
    sizes: dict[str, int] = seal["sizes"]
    if not all(name in sizes for name in NEEDED):
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
