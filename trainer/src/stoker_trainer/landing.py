"""How long landing takes on this machine: to end a step, to save, to upload. Measured while training goes on."""

from typing import Literal

Part = Literal["step", "save", "upload"]


class LandingTime:
    """Keeps the longest of each part. Parts come from several threads; each only ever grows."""

    def __init__(self) -> None:
        self._longest: dict[Part, float] = {}

    def took(self, part: Part, seconds: float) -> None:
        """Note a measurement."""
        self._longest[part] = max(seconds, self._longest.get(part, 0.0))

    @property
    def seconds(self) -> float | None:
        """All together; None until a checkpoint was saved and stored. Landing saves twice: checkpoint and model."""
        if not {"save", "upload"} <= self._longest.keys():
            return None
        return self._longest.get("step", 0.0) + 2 * self._longest["save"] + self._longest["upload"]
