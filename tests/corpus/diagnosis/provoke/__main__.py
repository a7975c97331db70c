"""`python -m tests.corpus.diagnosis.provoke shown|held_out [name...]`: provoke failures and write them down.

Each runs in a process of its own, forked when the libraries are there, with its output kept as it comes. Paths of the
machine are replaced; versions are noted.
"""

import importlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.corpus.diagnosis.provoke import worlds
from tests.support.tiny_model import build_tiny_model

CORPUS = Path(__file__).parents[1]
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "huggingface-hub", "pip")
_PATIENCE_SECONDS = 240
_MOST_LINES = 120


def main(part: str, *names: str) -> None:
    """Provoke all cases of a part, or those named."""
    cases = importlib.import_module(f"tests.corpus.diagnosis.provoke.{part}").CASES
    path = CORPUS / f"provoked_{part}.json"
    known = {case["name"]: case for case in json.loads(path.read_text())} if path.exists() else {}
    scratch = Path(tempfile.mkdtemp(prefix="provoke-"))
    worlds._BASE = build_tiny_model(scratch / "base")
    _load_libraries()
    for name, (verdict, provoke) in cases.items():
        if names and name not in names:
            continue
        lines = _provoked(provoke, scratch / name)
        known[name] = {"name": name, "verdict": verdict, "origin": "provoked", "versions": _versions(), "lines": lines}
        print(f"{name}: {lines[-1:] or 'silent'}", flush=True)  # noqa: T201 - a command line
        path.write_text(worlds.dumps([known[name] for name in cases if name in known]), encoding="utf-8")
    shutil.rmtree(scratch)


def _load_libraries() -> None:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import torch
    from trl import SFTTrainer  # noqa: F401

    torch.set_num_threads(1)


def _provoked(provoke: Any, folder: Path) -> list[str]:
    folder.mkdir()
    output = folder.with_suffix(".txt")
    child = os.fork()
    if child == 0:
        _run(provoke, folder, output)
    begun = time.monotonic()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() - begun > _PATIENCE_SECONDS:
            os.kill(child, 9)
            os.waitpid(child, 0)
            break
        time.sleep(0.1)
    return _cleaned(output.read_text(encoding="utf-8", errors="replace"), folder)


def _run(provoke: Any, folder: Path, output: Path) -> None:
    kept = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(kept, 1)
    os.dup2(kept, 2)
    sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115 - until the end
    try:
        provoke(folder)
    except BaseException as error:  # noqa: BLE001 - what comes is what is wanted
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _cleaned(text: str, folder: Path) -> list[str]:
    text = text.replace(str(folder), "/workspace").replace(str(folder.parent), "/workspace")
    text = re.sub(r"/[^\s\"':]*?/(?:site-packages|lib/python3\.\d+)/", "/usr/lib/python3/", text)
    text = re.sub(r"/[^\s\"']*?/(stoker_trainer|tests)/", r"/app/\1/", text)
    text = re.sub(r"/[^\s\"':]*/bin/python[\d.]*", "python", text)
    lines = [line.rpartition("\r")[2][:1000] for line in text.splitlines()]
    return [line for line in lines if line.strip()][-_MOST_LINES:]


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _LIBRARIES}
    return found | {"python": sys.version.split()[0]}


if __name__ == "__main__":
    main(*sys.argv[1:])
