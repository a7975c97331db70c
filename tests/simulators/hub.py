"""A Hugging Face Hub that serves models of a folder, for planning (listing, config) and for loading (files).

The folder holds `<organisation>/<name>/config.json` and so on. Quirks kept: a repository that does not exist is 401
with `X-Error-Code: RepoNotFound`, and 404 to those who are signed in; a gated one lists itself and refuses its files
with `GatedRepo`, 401 to those who are not signed in and 403 to those without access; a token that it does not know is
401 for everything; a listing counts the weights' values; each file has an `ETag` and the commit it is of.
"""

import hashlib
import json
import math
import struct
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tests.support.ports import free_port

COMMIT = "0123456789abcdef0123456789abcdef01234567"


Tokens = Mapping[str, Collection[str]]
"""The gated models that each token opens."""

_NO_TOKENS: Tokens = {}


def hub_application(folder: Path, *, gated: Collection[str] = (), tokens: Tokens = _NO_TOKENS) -> Starlette:
    """The hub over a folder; names in `gated` are those whose licence must be accepted, `tokens` who has done that."""

    async def list_model(request: Request) -> Response:
        token = _token(request)
        if token and token not in tokens:
            return _not_known()
        name, is_tree, _ = request.path_params["name"].partition("/tree/")
        name = name.partition("/revision/")[0]
        model = _model(folder, name)
        if model is None:
            return _refused(404 if token else 401, "RepoNotFound")
        return JSONResponse(_tree(model) if is_tree else _listing(name, model))

    async def give_file(request: Request) -> Response:
        token = _token(request)
        if token and token not in tokens:
            return _not_known()
        name, _, rest = request.path_params["path"].partition("/resolve/")
        model, file_name = _model(folder, name), rest.partition("/")[2]
        if model is None:
            return _refused(404 if token else 401, "RepoNotFound")
        if name in gated and name not in tokens.get(token, ()):
            return _refused(403 if token else 401, "GatedRepo")
        file = (model / file_name).resolve()
        if not file.is_relative_to(model) or not file.is_file():
            return _refused(404, "EntryNotFound")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return FileResponse(file, headers={"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})

    return Starlette(
        routes=[
            Route("/api/models/{name:path}", list_model, methods=["GET"]),
            Route("/{path:path}", give_file, methods=["GET", "HEAD"]),
        ]
    )


@contextmanager
def running_hub(folder: Path, *, gated: Collection[str] = (), tokens: Tokens = _NO_TOKENS) -> Iterator[str]:
    """The hub behind a real port, in a thread of its own; gives its address."""
    port = free_port()
    config = uvicorn.Config(
        hub_application(folder, gated=gated, tokens=tokens),
        host="127.0.0.1",
        port=port,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="simulated hub", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError(f"the hub does not listen on {port}")
        threading.Event().wait(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(timeout=10)


def _model(folder: Path, name: str) -> Path | None:
    model = (folder / name).resolve()
    is_there = model.is_relative_to(folder.resolve()) and (model / "config.json").is_file()
    return model if is_there else None


def _listing(name: str, model: Path) -> dict[str, Any]:
    files = sorted(file for file in model.rglob("*") if file.is_file())
    weights = [file for file in files if file.suffix == ".safetensors"]
    return {
        "id": name,
        "sha": COMMIT,
        "private": False,
        "gated": False,
        "tags": [],
        "downloads": 0,
        "siblings": [{"rfilename": str(file.relative_to(model)), "size": file.stat().st_size} for file in files],
        "safetensors": {"parameters": {}, "total": sum(map(_values, weights))} if weights else None,
        "config": {"tokenizer_config": _json(model / "tokenizer_config.json")},
    }


def _tree(model: Path) -> list[dict[str, Any]]:
    files = sorted(file for file in model.rglob("*") if file.is_file())
    return [
        {"type": "file", "oid": COMMIT, "size": file.stat().st_size, "path": str(file.relative_to(model))}
        for file in files
    ]


def _values(file: Path) -> int:
    with file.open("rb") as opened:
        header = json.loads(opened.read(struct.unpack("<Q", opened.read(8))[0]))
    return sum(math.prod(tensor["shape"]) for key, tensor in header.items() if key != "__metadata__")


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _token(request: Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _not_known() -> Response:
    message = "Invalid credentials in Authorization header"
    return JSONResponse({"error": message}, 401, headers={"X-Error-Message": message})


def _refused(status: int, code: str) -> Response:
    return JSONResponse({"error": code}, status, headers={"X-Error-Code": code, "X-Error-Message": code})
