"""What each rank of a model that runs in several pods is told about the others."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from deepseek_server.config import Gang


@dataclass(frozen=True)
class Team:
    """The ranks of a model over all its pods.

    Attributes:
        gang: what the configuration says.
        hosts: the host of each rank.
        directory: where this pod's ranks leave why they ended, and NCCL its log.
    """

    gang: Gang
    hosts: tuple[str, ...]
    directory: Path

    def named(self, rank: int) -> str:
        """A rank as sentences call it."""
        return f"rank {rank} on {self.hosts[rank]}"

    def write(self) -> str:
        """As an argument of a command."""
        return _JSON.dump_json(self).decode()

    @classmethod
    def read(cls, text: str) -> "Team":
        """From what `write` made."""
        return _JSON.validate_json(text)


_JSON = TypeAdapter(Team)
