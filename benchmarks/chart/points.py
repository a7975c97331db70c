"""The same run for both sides: a noisy loss that falls, a learning rate, a gradient norm with a few gaps."""

import math
import random
from collections.abc import Iterator

METRICS = ("loss", "learning_rate", "grad_norm")


def run_of(count: int) -> Iterator[tuple[float, float, float]]:
    """Values of each step from 1 on."""
    choice = random.Random(7)
    for step in range(1, count + 1):
        loss = 0.4 + 3 * math.exp(-4 * step / count) + choice.gauss(0, 0.08)
        yield loss, 2e-4 * (1 - step / count), abs(choice.gauss(1, 0.3))
