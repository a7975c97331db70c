"""The `Authorization: Bearer` header."""

from starlette.requests import Request

from stoker_shared.errors import Unauthorised


def bearer_token(request: Request) -> str:
    """The token of a request.

    Raises:
        Unauthorised: there is none, or it is not a bearer token.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorised(
            "The request has no bearer token.", next_step="Send the header Authorization: Bearer <key or token>."
        )
    return token.strip()
