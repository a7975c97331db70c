"""How long a job that is well waits for its next look: the more jobs there are, the longer, within a limit.

Pods tell of what happens to them, and that wakes a job at once; looks find what nobody told.
"""

from datetime import timedelta

from stoker_deployer.jobs.policy import Policy


class Calm:
    """`pause` is `active_check` while few jobs live, and grows so that all looks together stay at `looks_per_second`.

    It never exceeds `calm_check_max`. Money and time are not its business: no wait goes past their next moment.
    """

    def __init__(self, policy: Policy, *, looks_per_second: int) -> None:
        self._least = policy.active_check
        self._most = max(policy.calm_check_max, policy.active_check)
        self._looks_per_second = looks_per_second
        self.pause = self._least

    def count(self, live_jobs: int) -> None:
        """So many jobs are looked after by all replicas together."""
        self.pause = min(max(timedelta(seconds=live_jobs / self._looks_per_second), self._least), self._most)
