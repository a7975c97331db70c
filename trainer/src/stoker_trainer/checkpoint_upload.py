"""Sending checkpoints to the gateway while training goes on, so that another attempt can go on from them.

A checkpoint is the files `checkpoints/<step>/...` and, last, `checkpoints/<step>/complete.json`, which lists the others
with sizes and checksums. Nothing here may end or slow the training: what fails is told as a warning.
"""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from stoker_trainer.artifacts import ArtifactGateway, Refusal, UploadStopped
from stoker_trainer.checkpoints import SEAL, checkpoint_step
from stoker_trainer.errors import TokenRejected, TrainerError
from stoker_trainer.files import read_json, write_json
from stoker_trainer.upload import UploadRules, upload_file

MANIFEST = "complete.json"

Warn = Callable[[str, str], None]
"""Told as (code, text)."""


class CheckpointUploader:
    """Takes saved checkpoints and sends them, one after the other, in a thread of its own.

    Of those that wait only the newest is sent. `folder` is where they are kept meanwhile, on the disk of the
    checkpoints, so that the trainer may delete its own copy. `keep` is how many stay at the gateway. `on_stored` is
    told how many seconds each took.
    """

    def __init__(  # noqa: PLR0913 - wiring
        self,
        gateway: ArtifactGateway,
        *,
        folder: Path,
        keep: int,
        log: Callable[[str], None],
        warn: Warn,
        on_stored: Callable[[float], None] = lambda _seconds: None,
        rules: UploadRules = UploadRules(),  # noqa: B008 - frozen
    ) -> None:
        self._gateway = gateway
        self._folder = folder
        self._keep = keep
        self._log = log
        self._warn = warn
        self._on_stored = on_stored
        self._rules = rules
        self._changed = threading.Condition()
        self._waiting: Path | None = None
        self._is_busy = False
        self._is_closing = False
        self._has_warned = False
        # A daemon: a gateway that hangs must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="checkpoint upload", daemon=True)

    def start(self) -> None:
        """Begin to send; what an earlier process left behind is forgotten."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._thread.start()

    def offer(self, checkpoint: Path) -> None:
        """A sealed checkpoint to send. Returns at once and never raises."""
        try:
            held = self._held(checkpoint)
        except OSError as error:  # a full disk
            self._fail(checkpoint_step(checkpoint), error)
            return
        with self._changed:
            passed_over, self._waiting = self._waiting, held
            self._changed.notify_all()
        if passed_over is not None:
            self._forget(passed_over)

    def close(self, *, patience_seconds: float) -> bool:
        """Wait so long for what is under way, then stop. Tells whether everything that was offered is stored."""
        end = monotonic() + patience_seconds
        with self._changed:
            while (self._is_busy or self._waiting) and self._thread.is_alive() and (left := end - monotonic()) > 0:
                self._changed.wait(left)
            is_done = not self._is_busy and self._waiting is None
            self._is_closing = True
            self._gateway.stop.set()
            self._changed.notify_all()
        self._thread.join(timeout=1)
        if not self._thread.is_alive():
            self._gateway.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        return is_done

    def _held(self, checkpoint: Path) -> Path:
        """The same files under names of our own; on a disk without links the checkpoint as it is."""
        held = self._folder / checkpoint.name
        shutil.rmtree(held, ignore_errors=True)
        held.mkdir(parents=True)
        try:
            for path in checkpoint.iterdir():
                os.link(path, held / path.name)
        except OSError:
            shutil.rmtree(held, ignore_errors=True)
            return checkpoint
        return held

    def _forget(self, held: Path) -> None:
        if held.parent == self._folder:
            shutil.rmtree(held, ignore_errors=True)

    def _run(self) -> None:
        while (held := self._next()) is not None:
            try:
                self._send(held)
            except UploadStopped as stopped:
                if self._gateway.is_failing:
                    self._fail(checkpoint_step(held), stopped)
                else:
                    self._log(f"checkpoint {checkpoint_step(held)} is not stored: the attempt ends")
            except TokenRejected:
                return  # the attempt is over; the training loop learns it from its own reports
            except (TrainerError, OSError) as error:
                self._fail(checkpoint_step(held), error)
            finally:
                self._forget(held)
                self._rest()

    def _next(self) -> Path | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._is_closing)
            held, self._waiting = self._waiting, None
            self._is_busy = held is not None
            return None if self._is_closing else held

    def _rest(self) -> None:
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()

    def _send(self, held: Path) -> None:
        step, started = checkpoint_step(held), monotonic()
        entries = [self._store(path, step=step) for path in sorted(held.iterdir()) if path.is_file()]
        manifest = self._folder / MANIFEST
        write_json(manifest, manifest_of(step, seal=read_json(held / SEAL), files=entries))
        self._store(manifest, step=step)
        self._on_stored(monotonic() - started)
        size = sum(entry["bytes"] for entry in entries)
        self._log(f"checkpoint {step} stored ({len(entries)} files, {size} bytes, {monotonic() - started:.1f} s)")
        pruned = self._gateway.prune_checkpoints(keep=self._keep)
        if isinstance(pruned, Refusal):
            self._log(f"older checkpoints not deleted: {pruned}")

    def _store(self, path: Path, *, step: int) -> dict[str, Any]:
        sha256 = upload_file(path, f"checkpoints/{step}/{path.name}", gateway=self._gateway, rules=self._rules)
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256}

    def _fail(self, step: int, error: Exception) -> None:
        text = (
            f"checkpoint {step} is not stored at the gateway: {error}. Training goes on; it is on this machine's disk"
        )
        self._log(text)
        if not self._has_warned:
            self._has_warned = True
            self._warn("checkpoint_not_stored", text)


def manifest_of(step: int, *, seal: Any, files: list[dict[str, Any]]) -> dict[str, Any]:
    """What `complete.json` holds. `fingerprint` names the run (configuration and data) that may resume from it."""
    fingerprint = seal.get("fingerprint") if isinstance(seal, dict) else None
    return {"schema_version": 1, "step": step, "fingerprint": fingerprint, "files": files}
