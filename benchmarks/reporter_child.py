"""One training run of `bench_reporter`, in a process of its own: `python -m benchmarks.reporter_child MODE FOLDER URL`.

Writes number and seconds of each step to `steps.json` there. All modes run the same model, rows and seed with TRL; they
differ in who is told the numbers of the steps of every other block: our reporter over HTTP, or what TRL's own
`report_to` tells.
"""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

STEPS = int(os.environ.get("BENCH_REPORTER_STEPS", "240"))
BLOCK = 20
"""So many steps are told of, and then so many are not."""

STEPS_FILE = "steps.json"
"""Not standard output: rivals print there until the very end."""

_RIVALS = {"trackio": "TrackioCallback", "mlflow": "MLflowCallback"}


def is_told(step: int) -> bool:
    """Whether the step of this number, from 1, is told of."""
    return (step - 1) // BLOCK % 2 == 1


def main(mode: str, folder: Path, url: str) -> None:
    """Train and write down what the steps took."""
    import torch

    from benchmarks.reporter_callbacks import Stopwatch, put_gate

    torch.set_num_threads(1)
    torch.manual_seed(7)
    stopwatch = Stopwatch()
    trainer = _trainer(folder, report_to=mode if mode in _RIVALS else "none")
    trainer.add_callback(stopwatch)
    if mode in _RIVALS:
        put_gate(trainer, _RIVALS[mode])
        trainer.train()
    else:
        _train_with_ours(trainer, _reporter(folder, url), folder)
    (folder / STEPS_FILE).write_text(json.dumps(stopwatch.steps))


def _train_with_ours(trainer: Any, reporter: Any, folder: Path) -> None:
    from benchmarks.reporter_callbacks import Gate
    from stoker_trainer.callbacks import ReportCallback
    from stoker_trainer.hardware import find_hardware
    from stoker_trainer.machine import Machine

    trainer.add_callback(Gate(ReportCallback(reporter, machine=Machine(find_hardware(), folder=folder))))
    reporter.start()
    reporter.phase("training")
    trainer.train()
    if not reporter.flush(limit=timedelta(seconds=20)):
        raise RuntimeError("reports are left")


def _trainer(folder: Path, *, report_to: str) -> Any:
    from datasets import Dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from tests.support.tiny_model import conversations

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=6,
            num_attention_heads=4,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    settings = SFTConfig(
        output_dir=str(folder / "out"),
        max_length=64,
        per_device_train_batch_size=8,
        max_steps=STEPS,
        logging_steps=1,
        include_num_input_tokens_seen="non_padding",
        save_strategy="no",
        report_to=report_to,
        run_name="bench",
        use_cpu=True,
        bf16=False,
        seed=7,
        disable_tqdm=True,
    )
    rows = Dataset.from_list(conversations())
    return SFTTrainer(model=model, args=settings, train_dataset=rows, processing_class=tokenizer)


def _reporter(folder: Path, url: str) -> Any:
    from stoker_trainer.delivery import Delivery
    from stoker_trainer.masking import Masker
    from stoker_trainer.reporter import Reporter, ReporterSettings
    from tests.support.pod_receiver import TOKEN

    jobs = f"{url}/v1/jobs/job-1"
    settings = ReporterSettings(
        metrics_url=f"{jobs}/metrics", alerts_url=f"{jobs}/alerts", attempt=1, spool_folder=folder / "spool"
    )
    return Reporter(settings, delivery=Delivery(token=TOKEN), masker=Masker([TOKEN]), echo=lambda _line: None)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
