"""Environment variables of a pod that Stoker sets, and names that a user's own variables cannot have."""

ATTEMPT_VARIABLES = frozenset(
    {
        "JOB_ID",
        "JOB_TOKEN",
        "JOB_ATTEMPT",
        "USER_ID",
        "MODEL_NAME",
        "DATASET_URL",
        "DATASET_SHA256",
        "DATASET_FILENAME",
        "METRICS_API_URL",
        "ALERT_API_URL",
        "ARTIFACTS_API_URL",
        "RESUME_CHECKPOINTS",
        "TRAINING_CONFIG",
        "DEFAULT_DATALOADER_NUM_WORKERS",
        "DEFAULT_DATALOADER_PREFETCH_FACTOR",
        "DEFAULT_PRETOKENIZE",
    }
)
"""What every attempt's machine sees."""

CONTAINER_VARIABLES = frozenset({"TRAINER_BUNDLE_URL", "TRAINER_BUNDLE_SHA256"})
"""What a rented container sees besides."""

RESERVED_VARIABLES = ATTEMPT_VARIABLES | CONTAINER_VARIABLES
"""Most would send the job's token, its model or its code elsewhere, so a user's of such a name is refused."""

# Providers set the first on their pods, the pod script and the trainer read the second.
RESERVED_PREFIXES = ("RUNPOD_", "STOKER_")


def is_reserved(name: str) -> bool:
    """Whether a user's variable cannot have this name."""
    return name in RESERVED_VARIABLES or name.startswith(RESERVED_PREFIXES)
