"""What providers add to the shared error tree."""

from stoker_shared.errors import ProviderError, TransientError, UserError


class ModelNotFound(UserError):
    """A base model cannot be resolved on the provider's machines."""

    code = "model_not_found"
    status = 404
    title = "Model not found"

    def __init__(
        self,
        provider: str,
        name_or_path: str,
        *,
        next_step: str = "Check the name, or the path on the training machine.",
    ) -> None:
        super().__init__(f"The machines of {provider} find no model {name_or_path!r}.", next_step=next_step)


class ModelGated(UserError):
    """A base model is there, but only for those who have accepted its licence."""

    code = "model_gated"
    status = 403
    title = "Model is gated"

    def __init__(self, provider: str, name: str) -> None:
        super().__init__(
            f"The model {name!r} is gated: the machines of {provider} cannot load it without a token.",
            next_step=(
                "Accept its licence on the Hugging Face Hub, set a token (stoker secrets set huggingface) "
                "and plan with it (--secret huggingface)."
            ),
        )


class ModelAccessDenied(UserError):
    """A base model is there, but the owner's token of the Hub does not open it."""

    code = "model_no_access"
    status = 403
    title = "No access to the model"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The huggingface token has no access to the model {name!r}.",
            next_step=(
                "Accept its licence on the Hugging Face Hub with the account of the token, wait until that is granted, "
                "and give a fine-grained token the right to read gated repositories."
            ),
        )


class HubTokenRefused(UserError):
    """The Hub does not know the owner's token (any more)."""

    code = "hub_token_refused"
    status = 403
    title = "The Hub refuses the token"

    def __init__(self) -> None:
        super().__init__(
            "The Hugging Face Hub does not accept the huggingface token.",
            next_step="Make a new token there and set it: stoker secrets set huggingface.",
        )


class ModelUnusable(UserError):
    """A base model is there, but not in a form that can be planned for."""

    code = "model_unusable"
    status = 422
    title = "Model cannot be used"

    def __init__(self, provider: str, name: str, why: str) -> None:
        super().__init__(
            f"The machines of {provider} cannot use the model {name!r}: {why}.",
            next_step="Choose a model with config.json and *.safetensors.",
        )


class NotBilled(ProviderError):
    """The provider keeps no bill of a machine: what was counted from price and time is final."""

    code = "not_billed"


class HubUnreachable(TransientError):
    """The place where base models come from does not answer the provider's machines."""

    code = "hub_unreachable"

    def __init__(
        self, provider: str, detail: str, *, next_step: str = "Try again, or give a path on the training machine."
    ) -> None:
        super().__init__(f"{provider}: {detail}", next_step=next_step)


class ProviderNotConfigured(UserError):
    """No provider of this name is set up."""

    code = "provider_not_configured"
    status = 404
    title = "Provider not configured"

    def __init__(self, name: str, *, configured: list[str]) -> None:
        known = ", ".join(sorted(configured)) or "none"
        super().__init__(
            f"There is no provider {name!r}; configured: {known}.",
            next_step="Choose a configured one, or set up this one.",
        )
