"""From a checked file to the training and the held-out dataset, on disk and in constant memory."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker_trainer.config import TrainingConfig, canonical_json
from stoker_trainer.data import DataFacts, check_rows, clean_rows, split_indices
from stoker_trainer.files import sha256_of_file
from stoker_trainer.report import Report


@dataclass(frozen=True)
class Prepared:
    """`train` and `held_out` are datasets.Dataset; held_out None when nothing is held out."""

    train: Any
    held_out: Any | None
    facts: DataFacts
    sha256: str


def prepare_data(config: TrainingConfig, *, work: Path, sha256: str | None, report: Report) -> Prepared:
    """Check every row, then split.

    `sha256` is the checksum of the file as it was published, when that is another file (gzip) or known already.
    Raises DatasetUnreadable, DatasetMethodMismatch.
    """
    path = config.data_path
    facts = check_rows(path, data_format=config.data.format, conversion=config.data.conversion)
    for note, count in facts.notes.items():
        report.alert("warning", "dataset_note", f"in {count} of {facts.rows} rows {note}")
    sha256 = sha256 or sha256_of_file(path)
    rows = _load(path, config=config, cache=work / "rows", fingerprint=sha256)
    train, held_out = split_indices(facts.rows, held_out=config.held_out)
    report.log(f"data: {len(train)} rows to train on, {len(held_out)} held out")
    return Prepared(
        train=rows.select(train),
        held_out=rows.select(held_out) if held_out else None,
        facts=facts,
        sha256=sha256,
    )


def run_fingerprint(config: TrainingConfig, prepared: Prepared, *, devices: int) -> str:
    """Names a run by configuration and data: a checkpoint of another run is never resumed from."""
    config_sha256 = hashlib.sha256(canonical_json(config.run_values(devices=devices))).hexdigest()
    return canonical_json([config_sha256, prepared.sha256]).decode()


def _load(path: Path, *, config: TrainingConfig, cache: Path, fingerprint: str) -> Any:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_generator(
        clean_rows,
        gen_kwargs={
            "path": str(path),
            "data_format": config.data.format,
            "conversion": config.data.conversion,
            "fingerprint": fingerprint,
        },
        cache_dir=str(cache),
    )
