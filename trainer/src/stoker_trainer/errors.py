"""Everything that can end a training run, each with the reason the control plane knows and an exit code.

TrainerError
├── InvalidConfig
├── InvalidEnvironment
├── DatasetUnreadable
├── DatasetChecksumMismatch
├── DatasetMethodMismatch
├── ModelNotFound
├── OutOfMemory
├── NonFiniteLoss
├── ArtifactUploadFailed
├── TokenRejected
├── LandedEmpty
└── Terminated
"""

import errno

EXIT_SUCCESS = 0


class TrainerError(Exception):
    """A run ended early. `reason` is machine-readable, the text says what happened and what to do."""

    reason = "trainer_error"
    exit_code = 1


class InvalidConfig(TrainerError):
    """The configuration cannot be carried out; the text names each field."""

    exit_code = 2


class InvalidEnvironment(TrainerError):
    """A variable that a pod needs is missing or absurd; the text names it."""

    exit_code = 2


class DatasetUnreadable(TrainerError):
    """The data could not be fetched or parsed; the text names lines."""

    reason = "dataset_unreadable"
    exit_code = 10


class DatasetChecksumMismatch(TrainerError):
    """The bytes that arrived are not the bytes that were promised."""

    reason = "dataset_checksum_mismatch"
    exit_code = 11

    def __init__(self, *, expected: str, actual: str) -> None:
        super().__init__(
            f"the dataset's SHA-256 is {actual}, expected {expected}, twice in a row. "
            "Upload the dataset again, or check what stands between the gateway and this machine."
        )


class DatasetMethodMismatch(TrainerError):
    """The rows are readable but not what the method and format need."""

    reason = "dataset_method_mismatch"
    exit_code = 12


class ModelNotFound(TrainerError):
    """The base model is neither a folder here nor reachable on the hub."""

    reason = "model_not_found"
    exit_code = 13


class OutOfMemory(TrainerError):
    """The machine's or the GPU's memory is too small for this configuration."""

    reason = "out_of_memory"
    exit_code = 14

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"out of memory: {detail}. Lower batch.per_device (raise batch.gradient_accumulation by the same "
            "factor to keep the effective batch), lower batch.max_length, or use LoRA or a larger machine."
        )


class NonFiniteLoss(TrainerError):
    """The loss or the gradient is no longer a number; the last good checkpoint is kept."""

    reason = "non_finite_loss"
    exit_code = 15

    def __init__(self, *, what: str, step: int) -> None:
        super().__init__(
            f"{what} became non-finite at step {step}; training stopped before the weights were changed by it. "
            "Lower optimiser.learning_rate, add warm-up, or look at the rows of this step."
        )


class ArtifactUploadFailed(TrainerError):
    """A file of the result could not be stored at the gateway."""

    reason = "artifact_upload_failed"
    exit_code = 16


class TokenRejected(TrainerError):
    """The control plane no longer accepts this attempt's token: it was revoked, so training stops."""

    reason = "token_rejected"
    exit_code = 17

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} rejected the job token (401): the attempt was ended by the control plane.")


class LandedEmpty(TrainerError):
    """Ordered to land before anything was learned: there is nothing to store."""

    reason = "landed"
    exit_code = 18

    def __init__(self, why: str | None) -> None:
        super().__init__(f"ordered to land ({why or 'no reason given'}) before the first step; nothing was trained.")


class Terminated(TrainerError):
    """The machine was told to stop (SIGTERM)."""

    reason = "terminated"
    exit_code = 143

    def __init__(self, *, checkpoint_step: int | None = None) -> None:
        saved = f"a checkpoint of step {checkpoint_step} was saved" if checkpoint_step else "no step was trained"
        super().__init__(f"SIGTERM received; {saved}. Start again in the same folder to resume.")


_DISK_FULL_TEXTS = ("iostream error", "unexpected pos", "No space left on device")
"""torch.save and safetensors often say only this much when the disk is full."""

_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory")


def as_trainer_error(error: BaseException) -> TrainerError:
    """The same failure as one of ours: memory and disk are recognised by what libraries say about them."""
    if isinstance(error, TrainerError):
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(mark in text for mark in _MEMORY_TEXTS):
        return OutOfMemory(text.splitlines()[0][:300])
    if _is_disk_full(error, text):
        return TrainerError(f"the disk seems to be full ({text}). Free space or choose a larger volume.")
    return TrainerError(text)


def _is_disk_full(error: BaseException, text: str) -> bool:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return isinstance(error, RuntimeError | OSError) and any(mark in text for mark in _DISK_FULL_TEXTS)
