"""Training configurations that are done in seconds."""

import json
from pathlib import Path
from typing import Any


def config_values(folder: Path | str, **changes: Any) -> dict[str, Any]:
    """A short LoRA run on the tiny model."""
    return {
        "model": {"name_or_path": str(folder)},
        "data": {"format": "messages"},
        "held_out": {"max_rows": 8},
        "optimiser": {"learning_rate": 5e-3},
        "batch": {"per_device": 8, "max_length": 64},
        "length": {"max_steps": 6},
        "sample_prompts": ["What is the code word for bear?"],
        "sample_max_new_tokens": 12,
    } | changes


def config_json(folder: Path | str, **changes: Any) -> str:
    """The same as JSON."""
    return json.dumps(config_values(folder, **changes))
