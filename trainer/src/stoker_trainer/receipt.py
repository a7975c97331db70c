"""The receipt: enough to run the same training again and to check what came out."""

import hashlib
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from stoker_trainer import __version__
from stoker_trainer.config import TrainingConfig
from stoker_trainer.files import sha256_of_file, write_json
from stoker_trainer.hardware import Hardware, host_facts

RECEIPT = "receipt.json"


def write_receipt(
    folder: Path,
    *,
    config: TrainingConfig,
    dataset_sha256: str,
    model_config: Any,
    hardware: Hardware,
    metrics: dict[str, Any],
) -> None:
    """Write receipt.json, which lists every other file of the folder with its SHA-256."""
    write_json(
        folder / RECEIPT,
        {
            "schema_version": 1,
            "trainer_version": __version__,
            "dataset_sha256": dataset_sha256,
            "config": config.model_dump(mode="json", exclude={"output_dir": True, "data": {"path"}}),
            "config_sha256": config.sha256(),
            "batch": {
                "per_device": config.batch.per_device,
                "gradient_accumulation": config.batch.gradient_accumulation,
                "effective": config.effective_batch(devices=len(hardware.gpus)),
            },
            "resumed_from_step": metrics["train"]["resumed_from_step"],
            "model": {
                "name_or_path": config.model.name_or_path,
                "revision": config.model.revision,
                "config_sha256": hashlib.sha256(model_config.to_json_string().encode()).hexdigest(),
            },
            "packages": package_lock(),
            "host": host_facts(hardware),
            "metrics": metrics,
            "files": [file_entry(path, folder) for path in output_files(folder) if path.name != RECEIPT],
        },
    )


def output_files(folder: Path) -> list[Path]:
    """Every file of a result, the receipt last: who sees the receipt has the rest."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: (path.name == RECEIPT, str(path)))


def file_entry(path: Path, folder: Path) -> dict[str, Any]:
    """Name, size in bytes and checksum of one file."""
    name = path.relative_to(folder).as_posix()
    return {"name": name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def package_lock() -> list[str]:
    """Every installed distribution as name==version, sorted."""
    return sorted({f"{item.metadata['Name']}=={item.version}" for item in distributions()}, key=str.lower)
