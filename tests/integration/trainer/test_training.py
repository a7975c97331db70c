"""The flow on a real model: it learns, resumes exactly, obeys, and refuses what cannot be trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stoker_trainer.compare import compare
from stoker_trainer.config import TrainingConfig
from stoker_trainer.errors import DatasetMethodMismatch, LandedEmpty, NonFiniteLoss, Terminated, TokenRejected
from stoker_trainer.files import sha256_of_file
from stoker_trainer.landing import Part
from stoker_trainer.report import ConsoleReport, Control, Values
from stoker_trainer.signals import TerminationWatch
from stoker_trainer.train import Outcome, run
from tests.support.tiny_model import conversations, prompt_completions, write_rows
from tests.support.tiny_run import config_values


class Recorder(ConsoleReport):
    """Keeps what was reported; calls `at_step` with each logged step, and passes on its order."""

    def __init__(self) -> None:
        self.points: dict[int, Values] = {}
        self.alerts: list[str] = []
        self.parts: dict[str, float] = {}
        self.order = Control()
        self.at_step = lambda _step: None

    def metrics(self, *, step: int, values: Values) -> None:
        if "eval_loss" in values:
            self.evaluated(step)
        if "loss" in values:
            self.points[step] = values
            self.at_step(step)

    def evaluated(self, step: int) -> None:
        """The held-out loss was measured."""

    def took(self, part: Part, seconds: float) -> None:
        self.parts[part] = seconds

    def alert(self, level: str, code: str, message: str) -> None:
        self.alerts.append(code)

    def control(self) -> Control:
        return self.order


def train(folder: Path, data: Path, values: dict[str, Any], report: Recorder, watch: Any = None) -> Outcome:
    config = TrainingConfig.model_validate(values).on_this_machine(data_path=data, output_dir=folder / "out")
    return run(config, report=report, watch=watch or TerminationWatch())


def losses(report: Recorder) -> list[Any]:
    return [values["loss"] for _, values in sorted(report.points.items())]


def test_full_training_learns_and_leaves_a_whole_result(tmp_path: Path, tiny_model: Path, rows_file: Path) -> None:
    values = config_values(tiny_model, lora=None, length={"epochs": 8.0})
    report = Recorder()
    outcome = train(tmp_path, rows_file, values, report)

    seen = losses(report)
    assert sum(seen[-5:]) < 0.3 * sum(seen[:5])
    held_out = outcome.metrics["held_out"]
    assert held_out["rows"] == 8
    assert held_out["loss_after"] < 0.5 * held_out["loss_before"]
    sample = json.loads((outcome.output / "samples.json").read_text())[0]
    assert sample["tuned"] != sample["base"]
    assert sample["tuned"].startswith("The code word for")

    receipt = json.loads((outcome.output / "receipt.json").read_text())
    on_disk = {path.name for path in outcome.output.iterdir()} - {"receipt.json"}
    assert {entry["name"] for entry in receipt["files"]} == on_disk
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "metrics.json"} <= on_disk
    assert all(entry["sha256"] == sha256_of_file(outcome.output / entry["name"]) for entry in receipt["files"])
    assert receipt["dataset_sha256"] == sha256_of_file(rows_file)
    assert any(line.startswith("torch==") for line in receipt["packages"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_packed_adapter_can_be_compared_with_its_base(tmp_path: Path, tiny_model: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", prompt_completions())
    batch = {"per_device": 8, "max_length": 64, "packing": True}
    values = config_values(tiny_model, data={"format": "prompt_completion"}, batch=batch)
    outcome = train(tmp_path, data, values, Recorder())
    sample = json.loads((outcome.output / "samples.json").read_text())[0]
    found = compare(str(tiny_model), outcome.output, prompts=[sample["prompt"]], held_out=data)
    assert found["prompts"] == [sample]
    assert found["held_out"]["loss_tuned"] < found["held_out"]["loss_base"]
    adapter = json.loads((outcome.output / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tiny_model)


def test_a_run_stopped_by_sigterm_resumes_exactly(tmp_path: Path, tiny_model: Path, rows_file: Path) -> None:
    lora = {"rank": 4, "alpha": 8, "dropout": 0.05}
    values = config_values(tiny_model, lora=lora, length={"max_steps": 10}, sample_prompts=[])
    whole = Recorder()
    train(tmp_path / "a", rows_file, values, whole)

    stopped, watch = Recorder(), TerminationWatch()

    def stop_after_four(step: int) -> None:
        watch.is_requested = step >= 4

    stopped.at_step = stop_after_four
    with pytest.raises(Terminated, match="checkpoint of step 5"):
        train(tmp_path / "b", rows_file, values, stopped, watch)
    resumed = Recorder()
    outcome = train(tmp_path / "b", rows_file, values, resumed)

    assert min(resumed.points) == 6
    assert losses(stopped) + losses(resumed) == losses(whole)
    assert resumed.points[10]["num_tokens"] == whole.points[10]["num_tokens"]
    assert outcome.metrics["train"]["loss_first"] == whole.points[1]["loss"]


def test_orders_are_obeyed_between_steps(tmp_path: Path, tiny_model: Path, rows_file: Path) -> None:
    report = Recorder()
    orders = {2: Control("checkpoint", "before the price rises"), 4: Control("stop", "budget")}
    report.at_step = lambda step: setattr(report, "order", orders.get(step, report.order))
    lines: list[str] = []
    report.log = lines.append  # type: ignore[method-assign]
    outcome = train(tmp_path, rows_file, config_values(tiny_model, sample_prompts=[]), report)
    assert outcome.stopped_because == "budget"
    assert max(report.points) == 5
    # The order to checkpoint stayed for two steps and was obeyed once.
    assert [line for line in lines if line.startswith("checkpoint")] == [
        "checkpoint saved at step 3",
        "checkpoint saved at step 5",
    ]
    assert (outcome.output / "adapter_model.safetensors").exists()


def test_an_order_to_land_stores_what_was_learned_and_looks_at_nothing_more(
    tmp_path: Path, tiny_model: Path, rows_file: Path
) -> None:
    report = Recorder()
    order = Control("land", "budget", "2030-01-01T00:00:00+00:00")
    report.at_step = lambda step: setattr(report, "order", order if step >= 3 else report.order)
    evaluated: list[int] = []
    report.evaluated = evaluated.append  # type: ignore[method-assign]
    outcome = train(tmp_path, rows_file, config_values(tiny_model), report)
    assert outcome.landing == order
    assert max(report.points) == 4
    assert len(evaluated) == 1  # before training
    assert outcome.metrics["held_out"]["loss_after"] is None
    assert json.loads((outcome.output / "samples.json").read_text()) == []
    assert (outcome.output / "adapter_model.safetensors").exists()
    assert report.parts["step"] > 0
    assert report.parts["save"] > 0


def test_an_order_to_land_before_the_first_step_ends_the_run_at_once(
    tmp_path: Path, tiny_model: Path, rows_file: Path
) -> None:
    report = Recorder()
    report.order = Control("land", "budget")
    with pytest.raises(LandedEmpty, match="before the first step"):
        train(tmp_path, rows_file, config_values(tiny_model), report)
    assert report.points == {}


def test_a_revoked_token_stops_between_steps(tmp_path: Path, tiny_model: Path, rows_file: Path) -> None:
    class Revoked(Recorder):
        def control(self) -> Control:
            if self.points:
                raise TokenRejected("the metrics service")
            return Control()

    report = Revoked()
    with pytest.raises(TokenRejected):
        train(tmp_path, rows_file, config_values(tiny_model, sample_prompts=[]), report)
    assert max(report.points) == 1
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_no_number_stops_the_run_at_once(tmp_path: Path, tiny_model: Path, rows_file: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("inf")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    report = Recorder()
    values = config_values(broken, held_out={"fraction": 0}, sample_prompts=[], checkpoint_every_steps=1)
    with pytest.raises(NonFiniteLoss, match="step 1"):
        train(tmp_path, rows_file, values, report)
    assert not list(tmp_path.rglob("checkpoint-*"))
    assert not (tmp_path / "out").exists()


def test_rows_whose_answer_is_cut_off_are_not_lost_in_silence(tmp_path: Path, tiny_model: Path) -> None:
    long = [{"prompt": "bear " * 100, "completion": "x"}] * 4
    values = config_values(
        tiny_model, data={"format": "prompt_completion"}, held_out={"fraction": 0}, sample_prompts=[]
    )
    report = Recorder()
    train(tmp_path, write_rows(tmp_path / "a.jsonl", prompt_completions()[:16] + long), values, report)
    assert report.alerts == ["rows_dropped"]
    with pytest.raises(DatasetMethodMismatch, match="max_length"):
        train(tmp_path, write_rows(tmp_path / "b.jsonl", long), values, Recorder())


def test_conversations_need_a_chat_template(tmp_path: Path, tiny_model: Path) -> None:
    bare = shutil.copytree(tiny_model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    data = write_rows(tmp_path / "a.jsonl", conversations()[:4])
    with pytest.raises(DatasetMethodMismatch, match="chat template"):
        train(tmp_path, data, config_values(bare), Recorder())
