"""The training flow, read from top to bottom."""

import os
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker_trainer.checkpoints import checkpoint_step, last_whole_checkpoint
from stoker_trainer.config import TrainingConfig
from stoker_trainer.dataset import Prepared, prepare_data, run_fingerprint
from stoker_trainer.errors import DatasetMethodMismatch, LandedEmpty, Terminated
from stoker_trainer.hardware import Hardware, dataloader_options, find_hardware
from stoker_trainer.machine import Machine
from stoker_trainer.model import ModelSource, find_model, load_model, load_tokenizer, lora_settings
from stoker_trainer.report import Control, Report
from stoker_trainer.signals import TerminationWatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl.trainer.sft_config import SFTConfig

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

    before = measure(trainer, report=report, name="before training")
    go_on(report)
    base_answers = None if config.lora else sample(trainer, config=config, is_chat=is_chat)

    fingerprint = run_fingerprint(config, data, devices=len(hardware.gpus))
    start = starting_point(work / "checkpoints", fingerprint=fingerprint, report=report, fetch=fetch_checkpoint)

    report.phase("training")
    started = time.monotonic()
    orders = train(
        trainer, start=start, fingerprint=fingerprint, report=report, watch=watch, on_checkpoint=on_checkpoint
    )
    seconds = time.monotonic() - started

    report.phase("saving")
    stopped = orders.stopped_by
    landing = stopped if stopped and stopped.action == "land" else None
    # Landing is short of time: what was learned is stored, nothing is looked at any more.
    after = None if landing else measure(trainer, report=report, name="after training")
    samples = [] if landing else sample_pairs(trainer, config=config, is_chat=is_chat, base_answers=base_answers)
    metrics = summarise(trainer, before=before, after=after, data=data, seconds=seconds)
    metrics["train"]["resumed_from_step"] = checkpoint_step(start) if start else None
    write_output(trainer, config=config, output=output, data=data, hardware=hardware, results=(metrics, samples))
    shutil.rmtree(work)
    report.log(f"result written to {output}")
    return Outcome(output, metrics, (stopped.reason or "ordered to stop") if stopped else None, landing)


def go_on(report: Report) -> None:
    """An attempt that was ended meanwhile goes no further. Raises TokenRejected, LandedEmpty."""
    order = report.control()
    if order.action == "land":
        raise LandedEmpty(order.reason)


def quieten_libraries(*, is_offline: bool) -> None:
    """No telemetry, and no look at the hub for a model that is here.

    Works only before the libraries are imported, so nothing above this line may import them.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    # transformers 5 warns about a name that TRL 1.16 still needs.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
    if is_offline:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def hide_progress() -> None:
    """Progress bars are noise in a log."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def load_base(
    config: TrainingConfig, *, source: ModelSource, hardware: Hardware, report: Report
) -> "tuple[PreTrainedTokenizerBase, PreTrainedModel]":
    """Tokenizer and model. Raises ModelNotFound."""
    hide_progress()
    dtype = hardware.dtype_name(config.model.dtype)
    report.log(f"loading {source.name} as {dtype} on {', '.join(hardware.gpus) or 'CPU'}")
    tokenizer = load_tokenizer(source, config.model.revision)
    model = load_model(source, config.model, dtype_name=dtype)
    return tokenizer, model


def require_chat_template(tokenizer: "PreTrainedTokenizerBase", *, is_chat: bool) -> None:
    """Conversations need a template that turns them into text. Raises DatasetMethodMismatch."""
    if is_chat and not tokenizer.chat_template:
        raise DatasetMethodMismatch(
            "the rows are conversations, but the model's tokenizer has no chat template. "
            "Choose the instruction-tuned form of the model, or use rows of plain prompt and completion."
        )


def build_trainer(
    config: TrainingConfig,
    *,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    data: Prepared,
    work: Path,
    hardware: Hardware,
) -> Any:
    """TRL's trainer; tokenises the data. The model gets its adapter here."""
    from transformers import PrinterCallback

    from stoker_trainer.callbacks import GuardedTrainer

    trainer = GuardedTrainer(
        model=model,
        args=training_arguments(config, work=work, hardware=hardware),
        train_dataset=data.train,
        eval_dataset=data.held_out,
        processing_class=tokenizer,
        peft_config=lora_settings(config.lora),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def training_arguments(config: TrainingConfig, *, work: Path, hardware: Hardware) -> "SFTConfig":
    """Our configuration in TRL's words."""
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        output_dir=str(work / "checkpoints"),
        max_length=config.batch.max_length,
        packing=config.batch.packing,
        eval_packing=False,
        per_device_train_batch_size=config.batch.per_device,
        per_device_eval_batch_size=config.batch.per_device,
        gradient_accumulation_steps=config.batch.gradient_accumulation,
        learning_rate=config.optimiser.learning_rate,
        lr_scheduler_type=config.optimiser.schedule,
        warmup_steps=config.optimiser.warmup_ratio,  # below 1 it is a share of all steps
        weight_decay=config.optimiser.weight_decay,
        max_grad_norm=config.optimiser.max_grad_norm,
        num_train_epochs=config.length.epochs,
        max_steps=config.length.max_steps or -1,
        logging_steps=config.log_every_steps,
        logging_first_step=True,
        # On by default, it would show a loss that is not a number as 0.
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        save_strategy="steps" if config.checkpoint_every_steps else "no",
        save_steps=config.checkpoint_every_steps or 500,
        save_total_limit=2,
        seed=config.seed,
        use_cpu=not hardware.has_gpu,
        # TRL turns bfloat16 on by default, which fails or crawls on CPU.
        bf16=hardware.has_gpu and hardware.dtype_name(config.model.dtype) == "bfloat16",
        gradient_checkpointing=hardware.has_gpu,
        report_to="none",
        disable_tqdm=True,
        **dataloader_options(hardware, os.environ),
    )


def look_at_lengths(trainer: Any, *, data: Prepared, config: TrainingConfig, report: Report) -> None:
    """TRL drops rows whose answer lies behind max_length, and cuts others, without a word; say so.

    Raises DatasetMethodMismatch when nothing is left to train on.
    """
    longest = config.batch.max_length
    kept = len(trainer.train_dataset)
    if kept == 0:
        raise DatasetMethodMismatch(
            f"every row's prompt fills batch.max_length ({longest} tokens), so no answer is left to learn. Raise it."
        )
    if config.batch.packing:
        return
    if kept < len(data.train):
        lost = len(data.train) - kept
        text = f"{lost} of {len(data.train)} rows are left out: their prompt alone fills {longest} tokens"
        report.alert("warning", "rows_dropped", text)
    cut = sum(len(tokens) >= longest for tokens in trainer.train_dataset["input_ids"])
    if cut:
        report.alert("warning", "rows_truncated", f"{cut} of {kept} rows are cut to batch.max_length ({longest})")


def measure(trainer: Any, *, report: Report, name: str) -> float | None:
    """Held-out loss now, also sent as eval_loss."""
    from stoker_trainer.evaluation import held_out_loss

    loss = held_out_loss(trainer)
    if loss is not None:
        report.log(f"held-out loss {name}: {loss:.4f}")
        report.metrics(step=trainer.state.global_step, values={"eval_loss": loss})
    return loss


def sample(trainer: Any, *, config: TrainingConfig, is_chat: bool) -> list[str]:
    """The model's answers to the sample prompts, as it is now."""
    from stoker_trainer.evaluation import answer_prompts

    return answer_prompts(
        trainer.model,
        trainer.processing_class,
        config.sample_prompts,
        is_chat=is_chat,
        max_new_tokens=config.sample_max_new_tokens,
    )


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


def sample_pairs(
    trainer: Any, *, config: TrainingConfig, is_chat: bool, base_answers: list[str] | None
) -> list[dict[str, str]]:
    """Each sample prompt with the base model's and the tuned model's answer."""
    from stoker_trainer.evaluation import base_model

    if base_answers is None:
        with base_model(trainer.model):
            base_answers = sample(trainer, config=config, is_chat=is_chat)
    tuned_answers = sample(trainer, config=config, is_chat=is_chat)
    triples = zip(config.sample_prompts, base_answers, tuned_answers, strict=True)
    return [{"prompt": prompt, "base": base, "tuned": tuned} for prompt, base, tuned in triples]


def summarise(
    trainer: Any, *, before: float | None, after: float | None, data: Prepared, seconds: float
) -> dict[str, Any]:
    """The content of metrics.json. Losses in nats per token; the runtime is this process's training time."""
    from stoker_trainer.evaluation import perplexity

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tokens = trainer.state.num_input_tokens_seen
    fresh_tokens = tokens - trainer._initial_num_input_tokens_seen  # noqa: SLF001 - no public name for it
    return {
        "held_out": {
            "rows": len(data.held_out) if data.held_out is not None else 0,
            "loss_before": before,
            "loss_after": after,
            "perplexity_before": perplexity(before),
            "perplexity_after": perplexity(after),
        },
        "train": {
            "rows": len(data.train),
            "steps": trainer.state.global_step,
            "tokens": tokens,
            "loss_first": losses[0] if losses else None,
            "loss_last": losses[-1] if losses else None,
            "tokens_per_second": fresh_tokens / seconds if seconds > 0 else None,
            "runtime_seconds": seconds,
        },
    }


def write_output(
    trainer: Any,
    *,
    config: TrainingConfig,
    output: Path,
    data: Prepared,
    hardware: Hardware,
    results: tuple[dict[str, Any], list[dict[str, str]]],
) -> None:
    """Write model, metrics, samples and receipt beside the old result, then swap."""
    from stoker_trainer.receipt import write_receipt
    from stoker_trainer.save import publish, save_facts, save_model

    metrics, samples = results
    partial = output.with_name(f"{output.name}.partial")
    save_model(trainer, partial, base_name=config.model.name_or_path)
    save_facts(partial, metrics=metrics, samples=samples)
    write_receipt(
        partial,
        config=config,
        dataset_sha256=data.sha256,
        model_config=trainer.model.config,
        hardware=hardware,
        metrics=metrics,
    )
    publish(partial, output)
