"""The training flow, read from top to bottom."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker_trainer.building import build_trainer, load_base, look_at_lengths, quieten_libraries, require_chat_template
from stoker_trainer.checkpoints import checkpoint_step, last_whole_checkpoint
from stoker_trainer.config import TrainingConfig
from stoker_trainer.dataset import Prepared, prepare_data, run_fingerprint
from stoker_trainer.errors import LandedEmpty, Terminated
from stoker_trainer.hardware import Hardware, find_hardware
from stoker_trainer.machine import Machine
from stoker_trainer.model import find_model
from stoker_trainer.report import Control, Report
from stoker_trainer.result import measure, sample, sample_pairs, summarise, write_output
from stoker_trainer.signals import TerminationWatch

if TYPE_CHECKING:
    from stoker_trainer.callbacks import ControlCallback


FetchCheckpoint = Callable[[Path, str], None]
"""Brings the newest checkpoint of the run with this fingerprint into a folder, if it can. Raises TokenRejected only."""


@dataclass(frozen=True)
class Outcome:
    """A finished run: the result folder, its metrics and, when an order ended it early, why.

    `landing` is the order to land, if it was that.
    """

    output: Path
    metrics: dict[str, Any]
    stopped_because: str | None
    landing: Control | None = None


@dataclass(frozen=True)
class Untrained:
    """What stands before the first step: the trainer with model and data, and what the base model can do.

    `loss` is None without held-out rows. `answers` are the base model's; None for an adapter, which is put aside later.
    """

    trainer: Any
    data: Prepared
    hardware: Hardware
    loss: float | None
    answers: list[str] | None


@dataclass(frozen=True)
class Trained:
    """How the training went: where it began, how long this process trained, which order ended it early."""

    start: Path | None
    seconds: float
    stopped: Control | None

    @property
    def landing(self) -> Control | None:
        """The order to land, if it was that."""
        return self.stopped if self.stopped and self.stopped.action == "land" else None


def run(
    config: TrainingConfig,
    *,
    report: Report,
    watch: TerminationWatch,
    dataset_sha256: str | None = None,
    on_checkpoint: Callable[[Path], None] | None = None,
    fetch_checkpoint: FetchCheckpoint | None = None,
) -> Outcome:
    """Train as configured and leave the result in `config.output_folder`.

    Resumes from the last whole checkpoint of the same run if there is one; `fetch_checkpoint` may bring it from
    elsewhere. `on_checkpoint` is told of each one that is saved; it may neither raise nor take its time.
    Raises TrainerError.
    """
    output = config.output_folder.absolute()
    work = output.with_name(f"{output.name}.work")
    work.mkdir(parents=True, exist_ok=True)

    report.phase("preparing")
    before = prepare(config, work=work, dataset_sha256=dataset_sha256, report=report)
    fingerprint = run_fingerprint(config, before.data, devices=len(before.hardware.gpus))
    start = starting_point(work / "checkpoints", fingerprint=fingerprint, report=report, fetch=fetch_checkpoint)

    report.phase("training")
    started = time.monotonic()
    orders = train(
        before.trainer, start=start, fingerprint=fingerprint, report=report, watch=watch, on_checkpoint=on_checkpoint
    )
    trained = Trained(start, time.monotonic() - started, orders.stopped_by)

    report.phase("saving")
    metrics = leave_result(config, before, trained, output=output, report=report)
    shutil.rmtree(work)
    report.log(f"result written to {output}")
    stopped = trained.stopped
    return Outcome(output, metrics, (stopped.reason or "ordered to stop") if stopped else None, trained.landing)


def prepare(config: TrainingConfig, *, work: Path, dataset_sha256: str | None, report: Report) -> Untrained:
    """Find model and data, build the trainer, see what the base model can do. Raises TrainerError."""
    source = find_model(config.model.name_or_path)
    quieten_libraries(is_offline=source.is_local)
    data = prepare_data(config, work=work, sha256=dataset_sha256, report=report)
    hardware = find_hardware()
    tokenizer, model = load_base(config, source=source, hardware=hardware, report=report)
    is_chat = data.facts.is_conversational
    require_chat_template(tokenizer, is_chat=is_chat)
    trainer = build_trainer(config, model=model, tokenizer=tokenizer, data=data, work=work, hardware=hardware)
    look_at_lengths(trainer, data=data, config=config, report=report)
    go_on(report)
    loss = measure(trainer, report=report, name="before training")
    go_on(report)
    answers = None if config.lora else sample(trainer, config=config, is_chat=is_chat)
    return Untrained(trainer, data, hardware, loss, answers)


def go_on(report: Report) -> None:
    """An attempt that was ended meanwhile goes no further. Raises TokenRejected, LandedEmpty."""
    order = report.control()
    if order.action == "land":
        raise LandedEmpty(order.reason)


def starting_point(folder: Path, *, fingerprint: str, report: Report, fetch: FetchCheckpoint | None) -> Path | None:
    """The checkpoint to go on from, None to begin at the first step. It is told, so that no step is trained unseen."""
    folder.mkdir(parents=True, exist_ok=True)
    if fetch is not None:
        fetch(folder, fingerprint)
    start = last_whole_checkpoint(folder, fingerprint=fingerprint)
    if start is not None:
        step = checkpoint_step(start)
        report.log(f"resuming from the checkpoint of step {step}")
        report.metrics(step=step, values={"resumed_from_step": float(step)})
    return start


def train(
    trainer: Any,
    *,
    start: Path | None,
    fingerprint: str,
    report: Report,
    watch: TerminationWatch,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> "ControlCallback":
    """Train, or resume from the checkpoint `start`. Raises Terminated after SIGTERM, with a checkpoint saved."""
    from stoker_trainer.callbacks import ControlCallback, ReportCallback

    orders = ControlCallback(report, watch=watch, fingerprint=fingerprint, on_checkpoint=on_checkpoint)
    machine = Machine(find_hardware(), folder=Path(trainer.args.output_dir))
    trainer.add_callback(ReportCallback(report, machine=machine))
    trainer.add_callback(orders)
    with watch.deferred():
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    if watch.is_requested:
        raise Terminated(checkpoint_step=orders.saved_step)
    return orders


def leave_result(
    config: TrainingConfig, before: Untrained, trained: Trained, *, output: Path, report: Report
) -> dict[str, Any]:
    """See what was learned and write the result; returns its metrics.

    Landing is short of time: what was learned is stored, nothing is looked at any more.
    """
    trainer, data, is_chat = before.trainer, before.data, before.data.facts.is_conversational
    after, samples = None, []
    if not trained.landing:
        after = measure(trainer, report=report, name="after training")
        samples = sample_pairs(trainer, config=config, is_chat=is_chat, base_answers=before.answers)
    metrics = summarise(trainer, before=before.loss, after=after, data=data, seconds=trained.seconds)
    metrics["train"]["resumed_from_step"] = checkpoint_step(trained.start) if trained.start else None
    results = (metrics, samples)
    write_output(trainer, config=config, output=output, data=data, hardware=before.hardware, results=results)
    return metrics
