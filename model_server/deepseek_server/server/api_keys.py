"""API keys, from a file that may change while the server runs.

The file is a JSON list of entries, each with a name and the SHA-256 of a key, never the key itself.
It is usually a mounted Secret. Kubernetes updates a mounted Secret by pointing a symbolic link to
another directory, so the path leads to a new file: it is read again when its inode, modification
time or size changes. If a new version cannot be read, the previous keys stay valid.

    python -m deepseek_server.keys new NAME     create a key and its entry
"""

import argparse
import hashlib
import hmac
import json
import logging
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from deepseek_server.config import Section, problems
from deepseek_server.errors import PermanentError
from deepseek_server.server.rate_limits import Account, Allowance

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0

Count = Annotated[int, Field(ge=1)]


class Entry(Section):
    """One key and the limits of its owner."""

    name: str = Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_concurrent: Count | None = None

    @property
    def allowance(self) -> Allowance:
        """The limits of the key's owner."""
        return Allowance(self.requests_per_minute, self.tokens_per_minute, self.max_concurrent)


_ENTRIES = TypeAdapter(list[Entry])


class KeysError(Exception):
    """The file is unusable; the message states why and what to write instead."""


def read(path: Path) -> list[Entry]:
    """Return the entries of a file.

    Raises:
        KeysError: it is missing, is not a list of entries, or has a duplicate name or key.
    """
    try:
        entries = _ENTRIES.validate_python(json.loads(path.read_bytes()))
    except OSError as error:
        raise KeysError(f"the API keys file {path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise KeysError(
            f'the API keys file {path} must be a list of {{"name", "sha256"}}: {problems(error)}'
        ) from error
    except (ValueError, RecursionError) as error:
        raise KeysError(f"the API keys file {path} is not valid JSON: {error}") from error
    for what in ("name", "sha256"):
        values = [str(getattr(entry, what)).lower() for entry in entries]
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise KeysError(f"the API keys file {path} has the {what} {twice} twice: remove one")
    return entries


def digest(key: bytes) -> bytes:
    """Return the digest of a key."""
    return hashlib.sha256(key).digest()


class Keyring:
    """The keys of a file; a lookup checks for a new version at most once a second.

    Args:
        path: the file.
        clock: a monotonic clock in seconds.

    Raises:
        PermanentError: the file is invalid at the start.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._accounts: dict[str, tuple[bytes, Account]] = {}
        self._valid = True
        self._looked, self._version = clock(), _version(path)
        try:
            self._use(read(path))
        except KeysError as error:
            raise PermanentError(f"{error} (apiKeysFile in the configuration file)") from error

    @property
    def valid(self) -> bool:
        """Whether the newest version of the file is in use."""
        self._look()
        return self._valid

    @property
    def count(self) -> int:
        """Number of valid keys."""
        return len(self._accounts)

    def find(self, key: bytes) -> tuple[str, Account] | None:
        """Return the name and the account of a key; None if it is unknown.

        Compares all digests, each in constant time.
        """
        self._look()
        presented, found = digest(key), None
        for name, (expected, account) in self._accounts.items():
            if hmac.compare_digest(presented, expected):
                found = name, account
        return found

    def _look(self) -> None:
        """Read the file again if it has changed."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._use(read(self._path))
        except KeysError as error:
            self._valid = False
            log.error("%s: keeping the previous %d keys", error, self.count)
        else:
            self._valid = True
            log.info("loaded %d API keys from %s", self.count, self._path)

    def _use(self, entries: list[Entry]) -> None:
        """Replace the keys; an unchanged name and allowance keeps its account, and so its usage."""
        before, self._accounts = self._accounts, {}
        for entry in entries:
            _, account = before.get(entry.name, (b"", None))
            if account is None or account.allowance != entry.allowance:
                account = Account(entry.allowance, self._clock)
            self._accounts[entry.name] = bytes.fromhex(entry.sha256), account


def _version(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()  # follows the symbolic links
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def main(arguments: Sequence[str] | None = None) -> None:
    """Create an API key: print the key for its owner, then the entry for the keys file."""
    parser = argparse.ArgumentParser(
        prog="python -m deepseek_server.keys", description=main.__doc__
    )
    new = parser.add_subparsers(required=True, metavar="new").add_parser("new", help="create a key")
    new.add_argument("name", help="name of the key's owner; appears in logs")
    for field in ("requests-per-minute", "tokens-per-minute", "max-concurrent"):
        new.add_argument(f"--{field}", type=int, metavar="N")
    flags = parser.parse_args(arguments)
    key = f"sk-{secrets.token_urlsafe(32)}"
    try:
        entry = Entry(sha256=digest(key.encode()).hex(), **vars(flags))
    except ValidationError as error:
        parser.error(problems(error))
    sys.stdout.write(f"{key}\n{entry.model_dump_json(by_alias=True, exclude_none=True)}\n")


if __name__ == "__main__":
    main()
