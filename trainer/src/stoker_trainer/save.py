"""Writing the result folder: whole or not at all."""

import shutil
from pathlib import Path
from typing import Any

from stoker_trainer.files import sync_folder, write_json


def save_model(trainer: Any, folder: Path, *, base_name: str) -> None:
    """Write adapter (or full weights), tokenizer and chat template into an empty folder."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for settings in getattr(trainer.model, "peft_config", {}).values():
        # The name the user knows; PEFT would write this machine's path.
        settings.base_model_name_or_path = base_name
    trainer.save_model(str(folder))
    # A pickle of settings that the receipt has in plain text.
    (folder / "training_args.bin").unlink(missing_ok=True)


def save_facts(folder: Path, *, metrics: dict[str, Any], samples: list[dict[str, str]]) -> None:
    """Write metrics.json and samples.json."""
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "samples.json", samples)


def publish(partial: Path, output: Path) -> None:
    """Put the finished folder in its place; an older result is replaced, never mixed with the new one."""
    old = output.with_name(f"{output.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if output.exists():
        output.rename(old)
    partial.rename(output)
    sync_folder(output.parent)
    if old.exists():
        shutil.rmtree(old)
