"""`python -m stoker_trainer.compare BASE RESULT --prompt "..."`: what the base model says, what the tuned one says.

BASE is a folder or hub name, RESULT the folder of a finished training (a LoRA adapter, or a whole model). Prints JSON:
{"prompts": [{"prompt", "base", "tuned"}], "held_out": {"rows", "loss_base", "loss_tuned"} | null}.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from stoker_trainer.building import build_trainer, quieten_libraries
from stoker_trainer.config import TrainingConfig, parse_config
from stoker_trainer.dataset import Prepared, prepare_data
from stoker_trainer.errors import InvalidConfig, ModelNotFound, TrainerError
from stoker_trainer.files import read_json
from stoker_trainer.hardware import find_hardware
from stoker_trainer.model import ModelSource, find_model, load_model, load_tokenizer
from stoker_trainer.receipt import RECEIPT
from stoker_trainer.report import ConsoleReport


def compare(base: str, result: Path, *, prompts: list[str], held_out: Path | None = None) -> dict[str, Any]:
    """Greedy answers of both models and, with a file of rows, both losses per trained token in nats.

    The result's receipt says the data format and the lengths. Raises TrainerError.
    """
    if not result.is_dir():
        raise ModelNotFound(f"there is no folder {result}; download the job's artifacts first")
    source = find_model(base)
    quieten_libraries(is_offline=source.is_local)
    config = _config_of(result, prompts=prompts)
    with tempfile.TemporaryDirectory() as work:
        data = _held_out_rows(config, held_out, Path(work)) if held_out else None
        before, after = _measure_both(source, result, config=config, data=data, work=Path(work))
    triples = zip(prompts, before["answers"], after["answers"], strict=True)
    losses = {"loss_base": before["loss"], "loss_tuned": after["loss"]}
    return {
        "prompts": [{"prompt": prompt, "base": base, "tuned": tuned} for prompt, base, tuned in triples],
        "held_out": {"rows": len(data.held_out)} | losses if data and data.held_out is not None else None,
    }


def _config_of(result: Path, *, prompts: list[str]) -> TrainingConfig:
    receipt = read_json(result / RECEIPT)
    if not isinstance(receipt, dict):
        raise InvalidConfig(f"{result} has no {RECEIPT}: it is not the result of this trainer")
    values = receipt["config"] | {"sample_prompts": prompts, "output_dir": None, "lora": None}
    values["batch"] = values["batch"] | {"packing": False}
    return parse_config(json.dumps(values))


def _held_out_rows(config: TrainingConfig, path: Path, work: Path) -> Prepared:
    here = config.on_this_machine(data_path=path, output_dir=work)
    whole = here.model_copy(update={"held_out": here.held_out.model_copy(update={"fraction": 0.0})})
    data = prepare_data(whole, work=work, sha256=None, report=_Quiet())
    return Prepared(train=data.train, held_out=data.train, facts=data.facts, sha256=data.sha256)


def _measure_both(
    source: ModelSource, result: Path, *, config: TrainingConfig, data: Prepared | None, work: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    from stoker_trainer.evaluation import base_model

    dtype = find_hardware().dtype_name(config.model.dtype)
    # The tokenizer that was saved with the result, which need not have a config.json for it.
    whole = ModelSource(str(result), folder=result.absolute())
    tokenizer = load_tokenizer(whole, None)
    if (result / "config.json").exists():
        models = (
            load_model(one, config.model, dtype_name=dtype) for one in (source, find_model(str(result.absolute())))
        )
        before, after = (_Probe(model, tokenizer, config=config, data=data, work=work).measure() for model in models)
        return before, after
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(load_model(source, config.model, dtype_name=dtype), str(result))
    probe = _Probe(tuned, tokenizer, config=config, data=data, work=work)
    with base_model(tuned):
        before = probe.measure()
    return before, probe.measure()


class _Probe:
    """One loaded model with what it takes to measure it. Building a trainer patches the model, so once each."""

    def __init__(
        self, model: Any, tokenizer: Any, *, config: TrainingConfig, data: Prepared | None, work: Path
    ) -> None:
        self._model, self._tokenizer, self._config = model, tokenizer, config
        self._trainer = None
        if data is not None:
            hardware = find_hardware()
            self._trainer = build_trainer(
                config, model=model, tokenizer=tokenizer, data=data, work=work, hardware=hardware
            )

    def measure(self) -> dict[str, Any]:
        """Answers and, when there are rows, the loss."""
        from stoker_trainer.evaluation import answer_prompts, held_out_loss

        answers = answer_prompts(
            self._model,
            self._tokenizer,
            self._config.sample_prompts,
            is_chat=self._config.data.format == "messages",
            max_new_tokens=self._config.sample_max_new_tokens,
        )
        return {"answers": answers, "loss": held_out_loss(self._trainer) if self._trainer else None}


class _Quiet(ConsoleReport):
    """Standard output carries the JSON and nothing else."""

    def log(self, text: str) -> None:
        """Say it on standard error."""
        print(text, file=sys.stderr)  # noqa: T201


def main(arguments: list[str]) -> int:
    """Compare and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m stoker_trainer.compare", description=__doc__)
    parser.add_argument("base")
    parser.add_argument("result", type=Path)
    parser.add_argument("--prompt", action="append", default=[], dest="prompts")
    parser.add_argument("--held-out", type=Path)
    options = parser.parse_args(arguments)
    try:
        found = compare(options.base, options.result, prompts=options.prompts, held_out=options.held_out)
    except TrainerError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    print(json.dumps(found, indent=2, ensure_ascii=False))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
