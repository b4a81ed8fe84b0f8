"""Description of the ranks of a gang, which each rank gets at its start."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from deepseek_server.config import Gang


@dataclass(frozen=True)
class GangInfo:
    """The ranks of a model over all its pods.

    Attributes:
        gang: the gang's configuration.
        hosts: the host of each rank.
        directory: directory for the exit reasons of this pod's ranks and for NCCL's logs.
    """

    gang: Gang
    hosts: tuple[str, ...]
    directory: Path

    def named(self, rank: int) -> str:
        """Return the name of a rank for messages."""
        return f"rank {rank} on {self.hosts[rank]}"

    def write(self) -> str:
        """Return this object as a command line argument."""
        return _JSON.dump_json(self).decode()

    @classmethod
    def read(cls, text: str) -> "GangInfo":
        """Parse the result of `write`."""
        return _JSON.validate_json(text)


_JSON = TypeAdapter(GangInfo)
