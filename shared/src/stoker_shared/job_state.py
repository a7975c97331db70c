"""The life of a job as data: statuses, allowed transitions, and the reasons for which a job ends."""

from dataclasses import dataclass
from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands. The values are what APIs and events carry."""

    QUEUED = "queued"
    PROVISIONING = "provisioning"
    STARTING = "starting"
    PREPARING = "preparing"
    TRAINING = "training"
    SAVING = "saving"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can follow."""
        return self in TERMINAL

    @property
    def may_own_machine(self) -> bool:
        """Whether a machine may exist and cost money in this status."""
        return self in MACHINE_STATUSES


_S = JobStatus

TERMINAL: frozenset[JobStatus] = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
MACHINE_STATUSES: frozenset[JobStatus] = frozenset(
    {_S.PROVISIONING, _S.STARTING, _S.PREPARING, _S.TRAINING, _S.SAVING, _S.TERMINATING}
)

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # A queued job owns no machine: it can be cancelled, or refused for lack of cover, without `terminating`.
    _S.QUEUED: frozenset({_S.PROVISIONING, _S.CANCELLED, _S.FAILED}),
    # The forward jumps are for a pod whose reports overtake the provider's: fast boots, late looks.
    _S.PROVISIONING: frozenset({_S.STARTING, _S.PREPARING, _S.TRAINING, _S.SAVING, _S.TERMINATING}),
    _S.STARTING: frozenset({_S.PREPARING, _S.TRAINING, _S.SAVING, _S.TERMINATING}),
    _S.PREPARING: frozenset({_S.TRAINING, _S.SAVING, _S.TERMINATING}),
    _S.TRAINING: frozenset({_S.SAVING, _S.TERMINATING}),
    _S.SAVING: frozenset({_S.TERMINATING}),
    # A machine may exist until the provider says it is gone: no end without passing through here.
    _S.TERMINATING: frozenset({_S.QUEUED, _S.COMPLETED, _S.FAILED, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}


def may_follow(current: JobStatus, following: JobStatus) -> bool:
    """Whether a job may go from `current` to `following`."""
    return following in TRANSITIONS[current]


@dataclass(frozen=True, slots=True)
class EndAdvice:
    """What an end means: the status it leads to, whether another attempt may help, and words for the user.

    Where and how often it is tried again is the deployer's table `RETRY`.
    """

    status: JobStatus
    is_retryable: bool
    message: str
    advice: str


class EndReason(StrEnum):
    """Why an attempt or a job ended. `ends` maps each to its meaning."""

    SUCCESS = "success"
    CANCELLED_BY_USER = "cancelled_by_user"
    BUDGET_LANDED = "budget_landed"
    DURATION_LANDED = "duration_landed"
    BUDGET_EXHAUSTED = "budget_exhausted"
    BUDGET_NOT_COVERED = "budget_not_covered"
    PRICE_ABOVE_CEILING = "price_above_ceiling"
    PLAN_REFUSED = "plan_refused"
    MAX_DURATION_REACHED = "max_duration_reached"
    NO_CAPACITY = "no_capacity"
    PROVIDER_AUTH_FAILED = "provider_auth_failed"
    PROVIDER_FUNDS = "provider_funds"
    PROVIDER_REFUSED = "provider_refused"
    START_TIMED_OUT = "start_timed_out"
    MACHINE_LOST = "machine_lost"
    HEARTBEAT_LOST = "heartbeat_lost"
    NO_PROGRESS = "no_progress"
    POD_SETUP_FAILED = "pod_setup_failed"
    TRAINER_DIED = "trainer_died"
    TRAINER_TERMINATED = "trainer_terminated"
    TRAINER_ERROR = "trainer_error"
    DATASET_UNREADABLE = "dataset_unreadable"
    DATASET_CHECKSUM_MISMATCH = "dataset_checksum_mismatch"
    DATASET_METHOD_MISMATCH = "dataset_method_mismatch"
    MODEL_NOT_FOUND = "model_not_found"
    OUT_OF_MEMORY = "out_of_memory"
    NON_FINITE_LOSS = "non_finite_loss"
    LOSS_DIVERGED = "loss_diverged"
    ARTIFACT_UPLOAD_FAILED = "artifact_upload_failed"
    ARTIFACTS_MISSING = "artifacts_missing"
    TOKEN_REJECTED = "token_rejected"  # noqa: S105 - a reason, not a secret

    @property
    def ending(self) -> EndAdvice:
        """What this reason means."""
        return ENDINGS[self]


def _failed(message: str, advice: str, *, retry: bool = False) -> EndAdvice:
    return EndAdvice(JobStatus.FAILED, is_retryable=retry, message=message, advice=advice)


_R = EndReason

ENDINGS: dict[EndReason, EndAdvice] = {
    _R.SUCCESS: EndAdvice(
        JobStatus.COMPLETED,
        False,
        "Training finished and the model is stored.",
        "Get it: stoker artifacts get.",
    ),
    _R.CANCELLED_BY_USER: EndAdvice(
        JobStatus.CANCELLED, False, "Cancelled by the user.", "Launch the plan again when you want it to run."
    ),
    _R.BUDGET_LANDED: EndAdvice(
        JobStatus.COMPLETED,
        False,
        "Training was stopped before the budget was spent; what was learned until then is stored.",
        "Get it: stoker artifacts get. To train on, launch again with a larger budget.",
    ),
    _R.DURATION_LANDED: EndAdvice(
        JobStatus.COMPLETED,
        False,
        "Training was stopped before the longest allowed run was over; what was learned until then is stored.",
        "Get it: stoker artifacts get. To train on, launch again with a larger max_duration.",
    ),
    _R.BUDGET_EXHAUSTED: _failed("The budget of the job is spent.", "Plan again with a larger budget or fewer steps."),
    _R.BUDGET_NOT_COVERED: _failed(
        "The budget does not cover the reservation for an attempt.",
        "Raise the budget or choose a cheaper offer.",
    ),
    _R.PRICE_ABOVE_CEILING: _failed(
        "Every offer costs more than the job may pay.",
        "Raise the price ceiling or plan with other offers.",
        retry=True,
    ),
    _R.PLAN_REFUSED: _failed("The plan cannot be carried out as it is.", "Read the detail, then plan again."),
    _R.MAX_DURATION_REACHED: _failed("The job ran longer than allowed.", "Raise max_duration or train fewer steps."),
    _R.NO_CAPACITY: _failed("No provider had a machine free.", "Try later, or allow more GPU types.", retry=True),
    _R.PROVIDER_AUTH_FAILED: _failed("The provider refused our key.", "Set a valid key for the provider.", retry=True),
    _R.PROVIDER_FUNDS: _failed("The account at the provider is empty.", "Add funds at the provider.", retry=True),
    _R.PROVIDER_REFUSED: _failed(
        "The provider refused the request.", "Read the detail and change the plan.", retry=True
    ),
    _R.START_TIMED_OUT: _failed("The machine did not start in time.", "It is tried again elsewhere.", retry=True),
    _R.MACHINE_LOST: _failed("The machine vanished.", "It is tried again on another machine.", retry=True),
    _R.HEARTBEAT_LOST: _failed("The machine fell silent.", "It is tried again on another machine.", retry=True),
    _R.NO_PROGRESS: _failed("Training made no step for too long.", "Look at the last log lines.", retry=True),
    _R.POD_SETUP_FAILED: _failed(
        "The machine could not be prepared for training.",
        "Read the detail: it names the stage that failed and what it said.",
        retry=True,
    ),
    _R.TRAINER_DIED: _failed("The trainer died without a report.", "Look at the last log lines.", retry=True),
    _R.TRAINER_TERMINATED: _failed("The trainer was told to stop by its machine.", "It is tried again.", retry=True),
    _R.TRAINER_ERROR: _failed(
        "The trainer stopped with an error.", "Look at the last log lines and the message.", retry=True
    ),
    _R.DATASET_UNREADABLE: _failed("The trainer could not read the dataset.", "Check the dataset: stoker data show."),
    _R.DATASET_CHECKSUM_MISMATCH: _failed(
        "The dataset arrived damaged at the machine.", "It is fetched again.", retry=True
    ),
    _R.DATASET_METHOD_MISMATCH: _failed(
        "The dataset does not fit the training method.",
        "Choose a method that fits the columns of the dataset.",
    ),
    _R.MODEL_NOT_FOUND: _failed(
        "The base model was not found on the machine.", "Check the name or path of the model.", retry=True
    ),
    _R.OUT_OF_MEMORY: _failed(
        "The machine ran out of memory.",
        "Plan again with a smaller batch, shorter sequences or a larger GPU.",
        retry=True,
    ),
    _R.NON_FINITE_LOSS: _failed("The loss became NaN or infinite.", "Lower the learning rate or check the data."),
    _R.LOSS_DIVERGED: _failed("The loss grew instead of falling.", "Lower the learning rate or check the data."),
    _R.ARTIFACT_UPLOAD_FAILED: _failed("The model could not be uploaded.", "It is tried again.", retry=True),
    _R.ARTIFACTS_MISSING: _failed(
        "The trainer reported success, but its model is not stored.", "It is trained again.", retry=True
    ),
    _R.TOKEN_REJECTED: _failed("The machine's token was refused.", "It is tried again with a new token.", retry=True),
}
