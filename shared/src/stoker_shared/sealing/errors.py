"""What can be wrong with boxes and their keys. No message holds what is in a box.

StokerError
└── SealedBoxUnreadable    sealed for another key, damaged, or of somebody else
UserError
└── SealingKeyInvalid      not a key
Conflict
└── SealingKeyUnknown      sealed with a key that is not in the file (any more)
ServiceUnavailable
└── SealingKeysClosed      there is no key file, or it cannot be read
"""

from stoker_shared.errors import Conflict, ServiceUnavailable, StokerError, UserError

KEY_BYTES = 32


class SealedBoxUnreadable(StokerError):
    """A box was sealed for another key, was damaged, or belongs to somebody else. Says nothing of what is in it."""

    code = "sealed_box_unreadable"
    title = "A sealed secret cannot be opened"


class SealingKeyInvalid(UserError):
    """Not a key of 32 bytes in base64."""

    code = "sealing_key_invalid"
    status = 422
    title = "Not a key for sealing"

    def __init__(self) -> None:
        super().__init__(
            f"A key is {KEY_BYTES} bytes in base64.",
            next_step="Make one: stoker_deployer add-vault-key, or stoker_metrics add-sealing-key for targets.",
        )


class SealingKeyUnknown(Conflict):
    """A box was sealed with a key that is not in the file (any more)."""

    code = "vault_key_unknown"

    def __init__(self, key_id: str, *, holder: str) -> None:
        super().__init__(f"It was sealed with key {key_id}, which {holder} does not have.", next_step="Send it again.")


class SealingKeysClosed(ServiceUnavailable):
    """There is no key file, or it cannot be read."""

    code = "vault_closed"

    def __init__(self, holder: str, reason: str, *, setting: str) -> None:
        super().__init__(holder, reason)
        self.next_step = f"Have your operator set {setting}."
