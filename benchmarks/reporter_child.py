"""One training run of `bench_reporter`, in a process of its own: `python -m benchmarks.reporter_child MODE FOLDER URL`.

Prints the seconds of each step as JSON. All modes run the same model, rows and seed with TRL; they differ in who is
told the numbers of each step: nobody, our reporter over HTTP, or what TRL's own `report_to` tells.
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

STEPS = int(os.environ.get("BENCH_REPORTER_STEPS", "60"))


def main(mode: str, folder: Path, url: str) -> None:
    """Train and print."""
    import torch
    from transformers import TrainerCallback

    torch.set_num_threads(1)
    torch.manual_seed(7)
    seconds: list[float] = []

    class Stopwatch(TrainerCallback):
        """From the end of one step, with all that is told of it, to the end of the next."""

        last: float | None = None

        def on_step_begin(self, *_args: Any, **_more: Any) -> None:
            """A step begins where the last one was told."""
            now = time.perf_counter()
            if self.last is not None:
                seconds.append(now - self.last)
            self.last = now

    trainer = _trainer(folder, report_to=mode if mode in {"trackio", "mlflow"} else "none")
    reporter = _reporter(folder, url) if mode == "ours" else None
    if reporter is not None:
        from stoker_trainer.callbacks import ReportCallback
        from stoker_trainer.hardware import find_hardware
        from stoker_trainer.machine import Machine

        trainer.add_callback(ReportCallback(reporter, machine=Machine(find_hardware(), folder=folder)))
        reporter.start()
        reporter.phase("training")
    trainer.add_callback(Stopwatch())
    trainer.train()
    if reporter is not None and not reporter.flush(limit=timedelta(seconds=20)):
        raise RuntimeError("reports are left")
    print(json.dumps(seconds))


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
