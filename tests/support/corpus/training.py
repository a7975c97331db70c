"""What trains: one step of a real trainer of TRL on a tiny model, by our trainer's way and without it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.corpus.case import Case

SFT_FORMATS = frozenset({"messages", "prompt_completion", "text"})
MAX_LENGTH = 64
CSV_LABELS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Step:
    """One optimiser step: the loss, and how many rows there were to train on."""

    loss: float
    rows: int

    @property
    def is_real(self) -> bool:
        """Whether it was a step with a loss that is a number."""
        return self.rows > 0 and math.isfinite(self.loss)


class Gym:
    """A tiny model, loaded once; each exercise changes its weights a little, which no verdict depends on."""

    def __init__(self, model_folder: Path, work: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

        self._work = work
        self._exercises = 0
        self._model_folder = model_folder
        self.tokenizer = AutoTokenizer.from_pretrained(model_folder)  # type: ignore[no-untyped-call]
        self._model = AutoModelForCausalLM.from_pretrained(model_folder)
        self._judge = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=1)
        self._judge.config.pad_token_id = self.tokenizer.pad_token_id

    def write(self, case: Case) -> Path:
        """The case's file in a folder of its own."""
        self._exercises += 1
        folder = self._work / str(self._exercises)
        folder.mkdir(parents=True)
        path = folder / case.filename
        path.write_bytes(case.content)
        return path

    def train_our_way(self, case: Case) -> Step:
        """The trainer's own reading and one step. Raises TrainerError when it refuses."""
        from stoker_trainer.building import build_trainer
        from stoker_trainer.config import TrainingConfig
        from stoker_trainer.dataset import prepare_data
        from stoker_trainer.hardware import find_hardware
        from stoker_trainer.report import ConsoleReport

        path = self.write(case)
        config = TrainingConfig.model_validate(
            {
                "model": {"name_or_path": str(self._model_folder)},
                "data": {"path": path, "format": case.data_format, "conversion": case.conversion},
                "held_out": {"fraction": 0},
                "lora": None,
                "batch": {"per_device": 2, "max_length": MAX_LENGTH},
                "length": {"max_steps": 1},
            }
        )
        work = path.parent / "work"
        data = prepare_data(config, work=work, sha256=None, report=ConsoleReport())
        trainer = build_trainer(
            config, model=self._model, tokenizer=self.tokenizer, data=data, work=work, hardware=find_hardware()
        )
        return _step(trainer)

    def train_with_trl_alone(self, case: Case) -> Step:
        """The file as `datasets` loads it, given to the trainers of TRL for such rows, the best step counts.

        Raises whatever `datasets` or TRL raise.
        """
        from datasets import load_dataset

        path = self.write(case)
        rows = load_dataset("json", data_files=str(path), cache_dir=str(path.parent / "cache"), split="train")
        return self._step_on(rows, data_format=case.data_format, work=path.parent)

    def train_by_another_method(self, case: Case) -> Step:
        """Rows of a format that is not for SFT, read by the trainer's reading, given to the trainers of TRL."""
        from datasets import Dataset

        from stoker_trainer.rows import read_rows

        path = self.write(case)
        rows = [row.values for row in read_rows(path)]
        if case.filename.endswith(".csv") and case.data_format == "unpaired_preference":
            rows = [{**row, "label": CSV_LABELS[row["label"]]} for row in rows]
        return self._step_on(Dataset.from_list(rows), data_format=case.data_format, work=path.parent)

    def _step_on(self, rows: Any, *, data_format: str, work: Path) -> Step:
        return min(
            (_step(self._trainer(name, rows, work)) for name in METHODS[data_format]), key=lambda step: step.is_real
        )

    def _trainer(self, method: str, rows: Any, work: Path) -> Any:
        import trl

        settings: dict[str, Any] = {
            "output_dir": str(work / "out"),
            "max_steps": 1,
            "per_device_train_batch_size": 2,
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_nan_inf_filter": False,
            "logging_steps": 1,
        }
        more: dict[str, Any] = {}
        if method == "GRPO":
            settings |= {"num_generations": 2, "max_completion_length": 4}
            more["reward_funcs"] = _reward
        else:
            settings["max_length"] = MAX_LENGTH
        return getattr(trl, f"{method}Trainer")(
            model=self._judge if method == "Reward" else self._model,
            args=getattr(trl, f"{method}Config")(**settings),
            train_dataset=rows,
            processing_class=self.tokenizer,
            **more,
        )


METHODS: dict[str, tuple[str, ...]] = {
    "messages": ("SFT",),
    "prompt_completion": ("SFT",),
    "text": ("SFT",),
    "preference": ("DPO", "Reward"),
    "unpaired_preference": ("KTO",),
    "prompt_only": ("GRPO",),
}
"""TRL's trainers for each format; where there are two, both must take the rows."""


def _reward(completions: list[Any], **_: Any) -> list[float]:
    return [float(len(str(completion))) for completion in completions]


def _step(trainer: Any) -> Step:
    rows = len(trainer.train_dataset)
    trainer.train()
    assert trainer.state.global_step == 1
    return Step(loss=float(trainer.state.log_history[-1]["train_loss"]), rows=rows)
