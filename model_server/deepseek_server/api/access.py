"""Authentication by API key in the Authorization header, and the rate limits of the key."""

import math

from starlette.datastructures import Headers

from deepseek_server.api.errors import APIError
from deepseek_server.server.api_keys import Keyring
from deepseek_server.server.rate_limits import Account, Refusal

SCHEME = "bearer"


def identify(headers: Headers, keyring: Keyring) -> tuple[str, Account]:
    """Return the name and the account of the API key of a request.

    Raises:
        APIError: 401 if the key is missing or unknown.
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != SCHEME or not key.strip():
        raise _unknown("missing API key: send it in the header 'Authorization: Bearer KEY'")
    # Headers are decoded as latin-1, so encoding restores the bytes that were sent.
    found = keyring.find(key.strip().encode("latin-1"))
    if found is None:
        raise _unknown("unknown API key: check it, or ask the server's administrator for one")
    return found


def enter(name: str, account: Account) -> None:
    """Admit a request; call `account.leave` when it has ended.

    Raises:
        APIError: 429 if a limit is reached.
    """
    if refusal := account.enter():
        raise _refused(name, refusal)


def _unknown(message: str) -> APIError:
    return APIError(
        401, message, code="invalid_api_key", headers={"WWW-Authenticate": SCHEME.title()}
    )


def _refused(name: str, refusal: Refusal) -> APIError:
    seconds = max(1, math.ceil(refusal.seconds))
    return APIError(
        429,
        f"the API key {name!r} has reached its limit of {refusal.what}: retry in {seconds} s",
        code="rate_limit_exceeded",
        retry_after=seconds,
    )
