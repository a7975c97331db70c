"""Causes: what the provider, the machine, money and time did."""

from stoker_metrics.diagnosis.cause import CERTAIN, HINT, LIKELY, SURE, Cause
from stoker_shared.job_state import EndReason

_ANY = frozenset({"*"})

MACHINES: tuple[Cause, ...] = (
    Cause(
        "stopped_by_user",
        "You stopped the job.",
        "Launch it again when you want it to run.",
        reasons={EndReason.CANCELLED_BY_USER: CERTAIN},
        changes=("same_again",),
    ),
    Cause(
        "budget_not_covered",
        "The budget did not cover the beginning of an attempt.",
        "Raise the budget of the level that the detail names, or choose a cheaper offer.",
        reasons={EndReason.BUDGET_NOT_COVERED: CERTAIN},
        changes=("higher_budget", "other_offer"),
    ),
    Cause(
        "budget_exhausted",
        "The budget was spent before the training was over.",
        "Raise the budget, or train fewer steps.",
        reasons={EndReason.BUDGET_EXHAUSTED: CERTAIN},
        changes=("higher_budget",),
    ),
    Cause(
        "duration_reached",
        "The longest allowed run was over before the training was.",
        "Raise max_duration, or train fewer steps.",
        reasons={EndReason.MAX_DURATION_REACHED: CERTAIN},
        changes=("longer_duration",),
    ),
    Cause(
        "price_above_ceiling",
        "Every offer cost more than the job may pay for an hour.",
        "Raise the price ceiling, or allow cheaper GPU types.",
        reasons={EndReason.PRICE_ABOVE_CEILING: CERTAIN},
        changes=("higher_price_ceiling", "other_offer"),
    ),
    Cause(
        "no_capacity",
        "No provider had a machine of this kind free.",
        "Allow other GPU types or places, or try later.",
        patterns={
            r"no longer any instances available|not enough free GPUs|does not have the resources to deploy": LIKELY
        },
        reasons={EndReason.NO_CAPACITY: CERTAIN},
        changes=("other_offer", "same_again"),
    ),
    Cause(
        "provider_refused",
        "The provider refused the order.",
        "Read the detail and change what it names.",
        reasons={EndReason.PROVIDER_REFUSED: LIKELY},
        changes=("other_offer", "same_again"),
    ),
    Cause(
        "preempted",
        "The machine was taken away (preemption, eviction, or it was told to stop).",
        "Launch again: it goes on from the last checkpoint within a job, or on another offer.",
        patterns={
            r"SIGTERM received": SURE,
            r"\b(preempt(ed|ion)|spot instance.*(interrupt|terminat)|will be (evicted|reclaimed)|Evicted)\b": LIKELY,
            r"Received signal 15|SignalException: Process \d+ got signal: 15": LIKELY,
        },
        reasons={EndReason.TRAINER_TERMINATED: SURE},
        changes=("same_again", "other_offer"),
        follows=frozenset({"gpu_memory", "host_memory", "disk_full"}),
    ),
    Cause(
        "machine_died",
        "The machine vanished.",
        "Launch again; another offer avoids the place.",
        reasons={EndReason.MACHINE_LOST: LIKELY},
        changes=("same_again", "other_offer"),
        follows=_ANY,
    ),
    Cause(
        "pod_silent",
        "The machine fell silent.",
        "Launch again; if it happens everywhere, check the public address of the metrics service (stoker doctor).",
        reasons={EndReason.HEARTBEAT_LOST: LIKELY},
        changes=("same_again", "other_offer"),
        follows=_ANY,
    ),
    Cause(
        "start_timed_out",
        "The machine did not start in time.",
        "Take another offer, or a smaller image.",
        patterns={
            r"(Failed to pull image|ErrImagePull|ImagePullBackOff|manifest( for \S+)? (unknown|not found))": SURE
        },
        reasons={EndReason.START_TIMED_OUT: LIKELY},
        changes=("other_offer", "same_again"),
        follows=_ANY,
    ),
    Cause(
        "no_progress",
        "The training made no step for too long.",
        "Look at the last lines; launch again on another offer.",
        reasons={EndReason.NO_PROGRESS: LIKELY},
        changes=("same_again", "other_offer"),
        follows=_ANY,
    ),
    Cause(
        "setup_failed",
        "The machine could not be prepared for training.",
        "Read the detail: it names the stage that failed.",
        reasons={EndReason.POD_SETUP_FAILED: HINT},
        changes=("same_again", "other_offer"),
        follows=_ANY,
    ),
)
