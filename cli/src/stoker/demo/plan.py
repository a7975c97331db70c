"""What the demo trains, and what it asks both models afterwards."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stoker.demo.pod_story import PodStory
from stoker_shared.recipe import Batch, HeldOut, Length, Lora, ModelChoice, Optimiser, Recipe

ASKED = "shutil.copytree"
"""Kept out of the dataset, so that neither model has been trained on the answer."""

QUESTION = f"What does `{ASKED}` do?"
BUDGET_USD = "1.00"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Where the demo works and how long it trains. Sized for two CPU cores and ten minutes in all."""

    folder: Path = field(default_factory=lambda: Path(".demo"))
    provider: Literal["local", "runpod"] = "local"
    steps: int = 40
    held_out_rows: int = 32


def demo_recipe(model: str, options: DemoOptions) -> Recipe:
    """LoRA on all linear layers; the held-out rows are drawn with a seed and never trained on."""
    return Recipe(
        model=ModelChoice(name_or_path=model, dtype="float32"),
        held_out=HeldOut(fraction=0.05, max_rows=options.held_out_rows),
        lora=Lora(rank=16, alpha=32),
        optimiser=Optimiser(learning_rate=1e-3, schedule="cosine", warmup_ratio=0.1),
        batch=Batch(per_device=4, max_length=128),
        length=Length(max_steps=options.steps),
        sample_max_new_tokens=48,
    )


@dataclass(slots=True)
class DemoResult:
    """Everything the demo found, as it is written to `result.json`. `problems` empty means that all is well."""

    problems: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    forecast: dict[str, Any] = field(default_factory=dict)
    cost_micro_usd: int = 0
    held_out: dict[str, Any] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    pod: PodStory | None = None
    total_seconds: float = 0.0
