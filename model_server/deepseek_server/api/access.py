"""Who may use the API: the key in the header Authorization, and what its owner may still ask for."""

import math

from starlette.datastructures import Headers

from deepseek_server.api.errors import APIError
from deepseek_server.server.api_keys import Keyring
from deepseek_server.server.rate_limits import Account, Refusal

SCHEME = "bearer"


def identify(headers: Headers, keyring: Keyring) -> tuple[str, Account]:
    """The name and the account of who sends a request.

    Raises:
        APIError: 401 where there is no key or one that is not known.
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != SCHEME or not key.strip():
        raise _unknown("no API key was sent: put it into the header 'Authorization: Bearer KEY'")
    # Headers are read as latin-1, so this gives back the bytes that were sent.
    found = keyring.find(key.strip().encode("latin-1"))
    if found is None:
        raise _unknown("this API key is not known here: check it, or ask the server's operator")
    return found


def enter(name: str, account: Account) -> None:
    """Let a request in, to be followed by `account.leave`.

    Raises:
        APIError: 429 where a limit is reached.
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
        f"the API key {name!r} has reached its limit of {refusal.what}: try again in {seconds} s",
        code="rate_limit_exceeded",
        retry_after=seconds,
    )
