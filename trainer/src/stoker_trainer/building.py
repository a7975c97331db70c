"""What a run trains with: tokenizer, model, and TRL's trainer with the tokenised data."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker_trainer.config import TrainingConfig
from stoker_trainer.dataset import Prepared
from stoker_trainer.errors import DatasetMethodMismatch
from stoker_trainer.hardware import Hardware, dataloader_options
from stoker_trainer.model import ModelSource, load_model, load_tokenizer, lora_settings
from stoker_trainer.report import Report

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl.trainer.sft_config import SFTConfig


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


def hide_progress() -> None:
    """Progress bars are noise in a log."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


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
