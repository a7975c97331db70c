"""From points or buckets to the columns of a chart's line."""

from collections.abc import Iterable, Sequence

from stoker_metrics.points.buckets import Bucket, Measured
from stoker_shared.rpc.series import Series


def of_points(metric: str, points: Iterable[Measured]) -> Series:
    """The points that have the metric, in order of their sequences."""
    found = sorted((point for point in points if metric in point.values), key=lambda point: point.sequence)
    return Series(
        metric=metric,
        last_steps=[point.step for point in found],
        last=_short([point.values[metric] for point in found]),
    )


def of_buckets(metric: str, buckets: Sequence[Bucket]) -> Series:
    """Buckets of the metric, in their order."""
    return Series(
        metric=metric,
        last_steps=[bucket.last_step for bucket in buckets],
        last=_short([bucket.last for bucket in buckets]),
        first_steps=[bucket.first_step for bucket in buckets],
        minimums=_short([bucket.minimum for bucket in buckets]),
        maximums=_short([bucket.maximum for bucket in buckets]),
        gaps=[bucket.gaps for bucket in buckets] if any(bucket.gaps for bucket in buckets) else [],
    )


def _short(values: Iterable[float | None]) -> list[float | None]:
    # No screen shows more than seven digits, and seventeen would double what travels.
    return [None if value is None else float(f"{value:.7g}") for value in values]
