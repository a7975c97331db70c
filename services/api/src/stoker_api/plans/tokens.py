"""How long the rows are in tokens of the base model: counted by the dataset gateway, or a quarter of the characters."""

import math

from pydantic import BaseModel, Field

from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.rpc.dataset_gateway import DatasetStatistics, TokenStatistics

CHARACTERS_PER_TOKEN = 4
# Characters per token vary from about 3 to 5 between languages and tokenizers.
_ESTIMATE_LOW, _ESTIMATE_HIGH = CHARACTERS_PER_TOKEN / 5, CHARACTERS_PER_TOKEN / 3
# What the rows that are trained on may differ by from all rows, and from those that were counted.
_ALL_COUNTED, _SOME_COUNTED = 0.05, 0.1


class TokenLengths(BaseModel):
    """Tokens a row before anything is cut. `is_counted` tells whether the model's own tokenizer counted.

    `truncated_share` is the share of rows longer than `batch.max_length`; null if only an estimate says that some
    may be. `rows_measured` is 0 for an estimate.
    """

    p50: int
    p95: int
    max: int
    total: int = Field(description="Of all rows; scaled up if not all were measured")
    truncated_share: float | None
    rows: int
    rows_measured: int
    is_counted: bool
    basis: str

    @property
    def p95_low(self) -> float:
        """What 95 % of the rows are within, if an estimate turns out lucky."""
        return self.p95 if self.is_counted else self.p95 * _ESTIMATE_LOW

    def mean(self, max_length: int) -> float:
        """Tokens of a row that is cut at `max_length`; 0 if there are no rows.

        Nobody tells how long the cut rows are, so this is the most that fits the figures.
        """
        return _cut(self.total / self.rows, max_length) if self.rows else 0.0

    def mean_range(self, max_length: int) -> tuple[float, float]:
        """The least and the most that `mean` can turn out to be."""
        if not self.rows:
            return 0.0, 0.0
        mean = self.total / self.rows
        if not self.is_counted:
            return _cut(mean * _ESTIMATE_LOW, max_length), _cut(mean * _ESTIMATE_HIGH, max_length)
        margin = _ALL_COUNTED if self.rows_measured >= self.rows else _SOME_COUNTED
        return _cut(self._least_mean(mean, max_length) * (1 - margin), max_length), _cut(
            mean * (1 + margin), max_length
        )

    def _least_mean(self, mean: float, max_length: int) -> float:
        # All that is cut is as long as the longest row, so the least is left for the others.
        cut = self.truncated_share or 0.0
        return cut * max_length + max(0.0, mean - cut * self.max)


def token_lengths(
    answer: TokenStatistics | RemoteRefusal | ServiceUnavailable, *, statistics: DatasetStatistics, max_length: int
) -> TokenLengths:
    """What the gateway told; if it could not, an estimate from the characters that says why."""
    if not isinstance(answer, TokenStatistics):
        return _estimated(statistics, max_length=max_length, why=answer.detail)
    return TokenLengths(
        p50=answer.tokens_p50,
        p95=answer.tokens_p95,
        max=answer.tokens_max,
        total=answer.tokens_total,
        truncated_share=answer.truncated_share,
        rows=answer.rows,
        rows_measured=answer.rows_measured,
        is_counted=answer.is_exact,
        basis=answer.basis,
    )


def _estimated(statistics: DatasetStatistics, *, max_length: int, why: str) -> TokenLengths:
    longest = math.ceil(statistics.characters_max / CHARACTERS_PER_TOKEN)
    return TokenLengths(
        p50=math.ceil(statistics.characters_p50 / CHARACTERS_PER_TOKEN),
        p95=math.ceil(statistics.characters_p95 / CHARACTERS_PER_TOKEN),
        max=longest,
        total=math.ceil(statistics.characters_total / CHARACTERS_PER_TOKEN),
        truncated_share=0.0 if longest <= max_length else None,
        rows=statistics.rows,
        rows_measured=0,
        is_counted=False,
        basis=f"characters / {CHARACTERS_PER_TOKEN}, without the chat template; not counted: {why.rstrip('.')}",
    )


def _cut(mean: float, max_length: int) -> float:
    return max(1.0, min(mean, max_length))
