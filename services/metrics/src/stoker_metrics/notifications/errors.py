"""What can be wrong with a notification. No message holds an address or a secret of a target.

UserError
├── UrlRefused             the address of a webhook does not have the right form
├── TargetAddressInvalid   what was given does not lead to a service of this kind
├── SigningSecretInvalid   not a secret of a webhook
├── TooManyTargets         an owner has as many as one may have
└── NotificationsClosed    the operator has not set up what this kind of target needs
NotFound
├── TargetUnknown, RuleUnknown, DeliveryUnknown
Conflict
└── TargetNameTaken
StokerError (of one attempt to send; kept in the row of the delivery, never an answer)
├── AddressRefused         the name leads to an address that is not public
├── TargetUnreachable      no answer
└── TargetUnreadable       its address or secret cannot be opened
"""

from stoker_shared.errors import Conflict, NotFound, StokerError, UserError


class UrlRefused(UserError):
    """The address of a webhook does not have the right form."""

    code = "webhook_url_refused"
    status = 422
    title = "Not an address for a webhook"

    def __init__(self, why: str) -> None:
        super().__init__(f"The address of the webhook cannot be used: {why}.", next_step="Give another address.")


class TargetAddressInvalid(UserError):
    """What was given does not lead to a service of this kind."""

    code = "target_address_invalid"
    status = 422
    title = "Not an address of this kind"

    def __init__(self, kind: str, form: str) -> None:
        super().__init__(
            f"That is not an address for {kind}.",
            next_step=f"It has the form {form}.",
            fields={"address": f"has not the form {form}"},
        )


class SigningSecretInvalid(UserError):
    """Not a secret of a webhook."""

    code = "signing_secret_invalid"
    status = 422
    title = "Not a secret for signing"

    def __init__(self) -> None:
        super().__init__(
            "A signing secret is whsec_ and then 24 to 64 bytes in base64.",
            next_step="Leave it out: one is made and shown once.",
        )


class TooManyTargets(UserError):
    """An owner has as many as one may have."""

    code = "too_many_notification_objects"
    status = 409
    title = "Too many"

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(f"You have {limit} {kind}, which is the most.", next_step="Remove one that you do not need.")


class NotificationsClosed(UserError):
    """The operator has not set up what this kind of target needs."""

    code = "notifications_closed"
    status = 409
    title = "Not set up here"

    def __init__(self, kind: str, setting: str) -> None:
        super().__init__(f"Targets of kind {kind} cannot be used here.", next_step=f"Have your operator set {setting}.")


class TargetUnknown(NotFound):
    """No such target of this owner."""

    def __init__(self, identifier: str) -> None:
        super().__init__("notification target", identifier, next_step="See stoker notify list.")


class RuleUnknown(NotFound):
    """No such rule of this owner."""

    def __init__(self, identifier: str) -> None:
        super().__init__("notification rule", identifier, next_step="See stoker notify rules.")


class DeliveryUnknown(NotFound):
    """No such delivery of this owner."""

    def __init__(self, identifier: str) -> None:
        super().__init__("delivery", identifier, next_step="See stoker notify log.")


class TargetNameTaken(Conflict):
    """The owner has a target of that name."""

    code = "target_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"You have a target {name!r} already.", next_step="Take another name, or remove that one.")


class AddressRefused(StokerError):
    """The name leads to an address that is not public."""

    code = "address_refused"

    def __init__(self) -> None:
        super().__init__("the name leads to an address that webhooks are not sent to")


class TargetUnreachable(StokerError):
    """No answer. Whether what was sent arrived is unknown."""

    code = "target_unreachable"


class TargetUnreadable(StokerError):
    """The sealed address or secret of a target cannot be opened here."""

    code = "target_unreadable"

    def __init__(self) -> None:
        super().__init__("its sealed address cannot be opened; set the target again")
