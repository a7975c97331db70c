"""Which reason of ours a pod's exit report stands for."""

from stoker_shared.job_state import EndReason
from stoker_shared.rpc.metrics import ExitFacts

# Only what a trainer or its pod can know: a pod cannot claim to be cancelled by the user or out of budget.
_POD_KNOWS = (
    EndReason.SUCCESS,
    EndReason.TRAINER_ERROR,
    EndReason.DATASET_UNREADABLE,
    EndReason.DATASET_CHECKSUM_MISMATCH,
    EndReason.DATASET_METHOD_MISMATCH,
    EndReason.MODEL_NOT_FOUND,
    EndReason.OUT_OF_MEMORY,
    EndReason.NON_FINITE_LOSS,
    EndReason.ARTIFACT_UPLOAD_FAILED,
    EndReason.TOKEN_REJECTED,
    EndReason.TRAINER_TERMINATED,
    # Said by the guard of a pod whose script failed before the trainer began; the message names stage and line.
    EndReason.POD_SETUP_FAILED,
    EndReason.TRAINER_DIED,
    EndReason.NO_PROGRESS,
)
POD_REASONS: dict[str, EndReason] = {
    **{reason.value: reason for reason in _POD_KNOWS},
    "terminated": EndReason.TRAINER_TERMINATED,
}


def reason_of(said: ExitFacts) -> EndReason:
    """The reason; `trainer_error` for a word we do not know and for a success with an exit code other than 0."""
    reason = POD_REASONS.get(said.reason, EndReason.TRAINER_ERROR)
    if reason == EndReason.SUCCESS and said.exit_code != 0:
        return EndReason.TRAINER_ERROR
    return reason
