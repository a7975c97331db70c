"""What can be wrong with a secret. No message holds one."""

from collections.abc import Iterable

from stoker_shared.errors import NotFound, UserError


class SecretRefused(UserError):
    """The place that the secret is for does not accept it; nothing was stored."""

    code = "secret_refused"
    status = 422
    title = "The secret is not accepted"

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name} does not accept this key: {detail}", next_step="Make a new key there and set it.")


class SecretMalformed(UserError):
    """The value cannot be a key."""

    code = "secret_malformed"
    status = 422
    title = "Not a key"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"The value for {name!r} cannot be a key: {why}.", next_step="Copy the whole key and no more.")


class SecretNameUnknown(UserError):
    """Nothing here uses a secret of that name."""

    code = "secret_name_unknown"
    status = 404
    title = "No such secret"

    def __init__(self, name: str, *, settable: Iterable[str]) -> None:
        known = ", ".join(sorted(settable)) or "none"
        super().__init__(f"Nothing uses a secret {name!r}; known: {known}.", next_step="Use one of these names.")


class SecretNotSet(NotFound):
    """The owner has none of that name."""

    code = "secret_not_set"

    def __init__(self, name: str) -> None:
        super().__init__("secret", name, next_step=f"Set it: stoker secrets set {name}.")
