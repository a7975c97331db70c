"""Charts and latest values: metric points of any number of steps in an answer of bounded size."""

from pydantic import Field

from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Message
from stoker_shared.rpc.contract import Rpc
from stoker_shared.rpc.metrics import MOST_STEPS, SERVICE

MOST_RUNS = 20
MOST_METRICS = 100
MOST_CHART_POINTS = 5_000


class Run(Message):
    """One run; `attempt` None means the latest attempt that has any points."""

    job_id: Identifier
    attempt: int | None = Field(default=None, ge=1)


class ChartQuery(Message):
    """Ask for the lines of a chart: of these runs, these metrics (none named: all) in a range of steps."""

    owner: str
    runs: list[Run] = Field(min_length=1, max_length=MOST_RUNS)
    metrics: list[str] = Field(default_factory=list, max_length=MOST_METRICS)
    first_step: int = Field(default=0, ge=0)
    last_step: int = Field(default=MOST_STEPS, ge=0, le=MOST_STEPS)
    most_points: int = Field(default=1000, ge=10, le=MOST_CHART_POINTS, description="Of each line, at most")


class Series(Message):
    """One line of a chart, in columns. Values have seven significant digits. A `last` of null is a gap.

    `last_steps` and `last` are the line; if `width` is more than 1, `minimums` and `maximums` are the band around it,
    and each entry stands for up to `width` points, from `first_steps` on, of which `gaps` were no finite numbers.
    With `width` 1 the columns of buckets are empty.
    """

    metric: str
    last_steps: list[int]
    last: list[float | None]
    first_steps: list[int] = Field(default_factory=list)
    minimums: list[float | None] = Field(default_factory=list)
    maximums: list[float | None] = Field(default_factory=list)
    gaps: list[int] = Field(default_factory=list, description="Empty if there are none")


class RunChart(Message):
    """The lines of one run. No points yet: attempt 0."""

    job_id: Identifier
    attempt: int
    width: int = Field(description="The level: points in a bucket, 1 for the points themselves")
    points: int = Field(description="Points of the run, all metrics together, whatever the range")
    metrics: list[str] = Field(description="All that the run has, those that were not asked for included")
    series: list[Series]
    not_kept: int = Field(default=0, description="Points that came after the job's cap was reached")


class Chart(Message):
    """Runs side by side, in the order in which they were asked for."""

    runs: list[RunChart]


class LatestQuery(Message):
    """Ask for the latest values of runs."""

    owner: str
    runs: list[Run] = Field(min_length=1, max_length=MOST_RUNS)


class RunLatest(Message):
    """The newest value of each metric of a run, and the step that it has reached. No attempt yet: attempt 0."""

    job_id: Identifier
    attempt: int
    step: int
    total_steps: int
    values: dict[str, float | None]


class Latest(Message):
    """In the order in which the runs were asked for."""

    runs: list[RunLatest]


CHART = Rpc(SERVICE, "chart", ChartQuery, Chart, callers=("api",))
LATEST = Rpc(SERVICE, "latest", LatestQuery, Latest, callers=("api",))

SERIES = (CHART, LATEST)
