"""Thresholds of the rules, as plain data."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Policy:
    """What `next_step` decides by; see `settings.py` for the defaults."""

    active_check: timedelta
    """How long until a job that owns a machine is looked at again."""
    calm_check_max: timedelta
    """However many jobs there are, one that is well is looked at after this time."""
    queued_check: timedelta
    """How long until a job without a slot looks by itself; who may begin is woken before."""
    failed_check_max: timedelta
    """Longest pause after looks that failed; the pause doubles from `active_check`."""
    absence_pause: timedelta
    """Two looks that find no machine count as "there is none" only if this long apart."""
    exit_report_grace: timedelta
    """A machine that ended may have a report on its way for this long."""
    heartbeat_timeout: timedelta
    no_progress_timeout: timedelta
    start_timeout: timedelta
    """From the machine's start to the first word of its pod."""
    retry_delay: timedelta
    retry_delay_max: timedelta
    capacity_cooldown: timedelta
    """Nobody asks for an offer this long after it was refused for lack of capacity; doubles each further time."""
    capacity_cooldown_max: timedelta
    capacity_probe: timedelta
    """After a cool-down one job tries the offer; the others wait for its outcome at most this long."""
    capacity_patience: timedelta
    """A job that has waited this long for a machine is not tried again for lack of capacity."""
    breaker_spend_share: float
    """Failed attempts may cost this share of a job's budget; 1 is all of it."""
    terminate_retry: timedelta
    terminate_retry_max: timedelta
    reservation: timedelta
    """Machine time that is reserved at once, if the budget has it."""
    budget_tick: timedelta
    """Money for this much machine time must be left, or the machine is stopped."""
    accrue_every: timedelta
    provision_timeout: timedelta
    """From the intent to a machine."""
    preparing_timeout: timedelta
    saving_timeout: timedelta
    terminate_stalled_after: timedelta
    """A machine that takes longer than this to go is told of, and again each `terminate_stalled_every`."""
    terminate_stalled_every: timedelta
    landing_default: timedelta
    """What landing takes until it was measured; never more than a quarter of the machine time that the budget buys."""
    landing_safety: float
    """The measured time is taken so many times."""
