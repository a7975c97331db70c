"""The small worlds in which failures are provoked: a tiny model, a hub that refuses, wheels that conflict."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.tiny_model import build_tiny_model, conversations, prompt_completions, write_rows

MESSAGES: list[dict[str, Any]] = conversations()[:16]
PAIRS: list[dict[str, Any]] = [
    {"prompt": f"{row['prompt']} " * 8, "completion": "x"} for row in prompt_completions()[:8]
]
PREFERENCES: list[dict[str, Any]] = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 8
_BASE = Path(os.environ.get("PROVOKE_MODEL", ""))


def model(folder: Path) -> Path:
    """A copy of the tiny model."""
    import shutil

    path = folder / "model"
    if not path.exists():
        shutil.copytree(_BASE, path) if _BASE.name else build_tiny_model(path)
    return path


def tokenizer(folder: Path) -> Any:
    """Its tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model(folder))


def trl(kind: str, folder: Path, *, rows: list[dict[str, Any]], **changes: Any) -> None:
    """Train two steps with a TRL trainer."""
    import trl as library
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    words = tokenizer(folder)
    if "chat_template" in changes:
        words.chat_template = changes.pop("chat_template")
    given = {"peft_config": changes.pop("peft_config")} if "peft_config" in changes else {}
    if kind == "GRPO":
        given["reward_funcs"] = [lambda completions, **_: [0.0] * len(completions)]
        changes |= {"num_generations": 2, "max_completion_length": 4}
    settings = {"output_dir": str(folder / "out"), "max_steps": 2, "use_cpu": True, "bf16": False, "report_to": "none"}
    config = getattr(library, f"{kind}Config")(**(settings | {"per_device_train_batch_size": 2} | changes))
    data = Dataset.from_list(rows) if rows else Dataset.from_dict({"text": []})
    language_model = AutoModelForCausalLM.from_pretrained(model(folder))
    if kind == "Reward":
        language_model = AutoModelForSequenceClassification.from_pretrained(model(folder), num_labels=1)
    made = getattr(library, f"{kind}Trainer")
    made(model=language_model, args=config, train_dataset=data, processing_class=words, **given).train()


def trainer(
    folder: Path,
    *,
    rows: list[dict[str, Any]] | None = None,
    text: str = "",
    model: str | None = None,
    poisoned: bool = False,
    **changes: Any,
) -> None:
    """Run Stoker's own trainer on rows or on a file's text."""
    from stoker_trainer.config import parse_config
    from stoker_trainer.report import ConsoleReport
    from stoker_trainer.signals import TerminationWatch
    from stoker_trainer.train import run
    from tests.support.tiny_run import config_json

    path = folder / "rows.jsonl"
    write_rows(path, rows) if rows is not None else path.write_text(text, encoding="utf-8")
    base = Path(model) if model else globals()["model"](folder)
    if poisoned:
        _poison(base)
    config = parse_config(config_json(base, **changes))
    config = config.on_this_machine(data_path=path, output_dir=folder / "out")
    run(config, report=ConsoleReport(), watch=TerminationWatch())


def _poison(base: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = base / "model.safetensors"
    weights = load_file(str(path))
    save_file({name: value * float("nan") for name, value in weights.items()}, str(path), metadata={"format": "pt"})


def hub(folder: Path, *, status: int, code: str | None, message: str, token: str | None = None) -> None:
    """Load a model from a hub that answers everything in one way."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", message)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815 - the library names it

        def log_message(self, *_args: object) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub_at(f"http://127.0.0.1:{server.server_port}", folder, token=token)


def hub_at(endpoint: str, folder: Path, *, token: str | None = None) -> None:
    """Load a model in a process that knows this hub."""
    code = f"from transformers import AutoModelForCausalLM as M; M.from_pretrained('acme/gated', token={token!r})"
    variables = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "*"}
    subprocess.run([sys.executable, "-c", code], env=variables, check=False)


def tls(folder: Path, *, days: int) -> None:
    """Ask a server whose certificate nobody has signed."""
    import httpx

    key, certificate = folder / "key.pem", folder / "cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", str(days)]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    httpx.get(f"https://localhost:{server.server_port}/", trust_env=False)


def fetch_dataset(folder: Path, url: str) -> None:
    """Fetch a dataset as a pod does, for two seconds."""
    from stoker_trainer.download import download_dataset

    download_dataset(
        url, folder=folder, filename="rows.jsonl", sha256="0" * 64, log=print, give_up_after=timedelta(seconds=2)
    )


def wheel(folder: Path, name: str, version: str, *, requires: str = "", python: str = ">=3.8") -> None:
    """Write a wheel without content."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else ""))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def pip(folder: Path, *arguments: str) -> None:
    """Install from the folder alone."""
    command = [sys.executable, "-m", "pip", "install", "--no-index", "-f", str(folder)]
    target = ["--target", str(folder / "target"), "--disable-pip-version-check", "--no-cache-dir"]
    subprocess.run([*command, *target, *arguments], check=False, env=plain_environment())


def plain_environment() -> dict[str, str]:
    """The environment without what this machine tells pip."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return kept | {"PIP_CONFIG_FILE": "/dev/null", "NO_PROXY": "*"}


def two_ranks(folder: Path, body: str) -> None:
    """Two processes that talk over gloo."""
    script = folder / "ranks.py"
    start = "import os, sys, torch, torch.distributed as dist\nrank = int(sys.argv[1])\n"
    join = f"dist.init_process_group('gloo', init_method='file://{folder}/meet', rank=rank, world_size=2)\n"
    script.write_text(start + join + body + "\n", encoding="utf-8")
    other = subprocess.Popen([sys.executable, str(script), "1"])
    subprocess.run([sys.executable, str(script), "0"], check=False, timeout=120)
    other.wait()


def dumps(value: object) -> str:
    """JSON as in the corpus."""
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
