"""What the training server answers instead of what was asked for.

ServerError
├── NotAuthorised
├── MachineNotFound
├── NameTaken
├── NameRetired
├── NoSuchSlot
├── StorageFull
├── ModelNotFoundHere
├── ModelFormatUnsupported
└── HubUnreachable
"""

from pathlib import Path


class ServerError(Exception):
    """`status` and `code` are the answer's, `next_step` tells what to do."""

    status = 500
    code = "internal_error"
    title = "The training server failed"
    next_step = "Look at the training server's log."


class NotAuthorised(ServerError):
    """The API key is missing or wrong."""

    status = 401
    code = "not_authorised"
    title = "API key missing or wrong"
    next_step = "Send 'Authorization: Bearer <key>' with the key in STOKER_TRAINING_SERVER_API_KEY."

    def __init__(self) -> None:
        super().__init__("this training server does not know the API key that was sent")


class MachineNotFound(ServerError):
    """No machine has this name."""

    status = 404
    code = "machine_not_found"
    title = "No such machine"
    next_step = "List the machines with GET /v1/machines."

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no machine named {name} on this training server")


class NameTaken(ServerError):
    """The name exists with other content."""

    status = 409
    code = "name_taken"
    title = "Name taken"
    next_step = "Use a name that holds the attempt number, or terminate the machine first."

    def __init__(self, name: str) -> None:
        super().__init__(f"the machine {name} exists and was started with another environment or GPU count")


class NameRetired(ServerError):
    """The name belonged to a machine that was terminated; names are used once."""

    status = 410
    code = "name_retired"
    title = "Name retired"
    next_step = "Start the next attempt under a new name."

    def __init__(self, name: str) -> None:
        super().__init__(f"a machine named {name} was terminated; its name is not used again")


class NoSuchSlot(ServerError):
    """This machine has nothing on which the request could ever run."""

    status = 422
    code = "no_such_slot"
    title = "No slot of this kind"
    next_step = "Choose one of GET /v1/offers; gpu_count 0 runs on the CPU, and one GPU is the most per machine."

    def __init__(self, *, gpu_count: int, gpus: int, cpu_slots: int) -> None:
        super().__init__(
            f"asked for gpu_count {gpu_count}; this training server has {gpus} GPUs (one for each machine) "
            f"and {cpu_slots} CPU slots"
        )


class StorageFull(ServerError):
    """The disk has no room for another machine."""

    status = 507
    code = "storage_full"
    title = "Disk full"
    next_step = "Free space in STOKER_TRAINING_SERVER_DATA_DIR: terminate machines that ended, or use a larger disk."

    def __init__(self, folder: Path, *, free_bytes: int) -> None:
        super().__init__(f"no room for another machine in {folder}: {free_bytes} bytes free")


class ModelNotFoundHere(ServerError):
    """The model is neither a folder here nor on the hub."""

    status = 404
    code = "model_not_found"
    title = "Model not found"
    next_step = (
        "Put the model's folder (config.json, *.safetensors, tokenizer) below one of "
        "STOKER_TRAINING_SERVER_MODEL_ROOTS, give its absolute path, or use a name from the Hugging Face Hub."
    )


class ModelFormatUnsupported(ServerError):
    """There is a model, but not as safetensors with a config.json."""

    status = 422
    code = "model_format_unsupported"
    title = "Model format not supported"
    next_step = "Convert a GGUF file once: python -m stoker_trainer.convert_gguf MODEL.gguf OUT_DIR."


class HubUnreachable(ServerError):
    """The Hugging Face Hub did not answer."""

    status = 503
    code = "hub_unreachable"
    title = "Hugging Face Hub unreachable"
    next_step = "Check this machine's network, or put the model's folder on it and name the path."
