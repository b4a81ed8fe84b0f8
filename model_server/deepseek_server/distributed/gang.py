"""Identity of this pod in its gang, from the environment that a LeaderWorkerSet sets."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_server.config import Gang
from deepseek_server.errors import PermanentError


@dataclass(frozen=True)
class Pod:
    """One pod of a gang.

    Attributes:
        index: its number; 0 is the leader.
        leader: name or address of the leader.
        host: name of its node, for messages.
        group: number of the replica that it belongs to; empty if unknown.
    """

    index: int
    leader: str
    host: str
    group: str = ""

    @property
    def leads(self) -> bool:
        """Whether this pod is the leader, which serves clients."""
        return self.index == 0

    @classmethod
    def from_environment(cls, gang: Gang, environment: Mapping[str, str] = os.environ) -> "Pod":
        """Read LWS_LEADER_ADDRESS, LWS_GROUP_SIZE, LWS_WORKER_INDEX and LWS_GROUP_INDEX.

        Raises:
            PermanentError: they are missing, invalid, or contradict the configuration.
        """
        size = _number(environment, "LWS_GROUP_SIZE", gang)
        if size != gang.pods:
            raise PermanentError(
                f"the configuration has gang.pods {gang.pods}, but the environment has "
                f"LWS_GROUP_SIZE={size}: set the size of the LeaderWorkerSet and gang.pods to the "
                "same number"
            )
        index = _number(environment, "LWS_WORKER_INDEX", gang)
        if index >= size:
            raise PermanentError(
                f"the environment has LWS_WORKER_INDEX={index} and LWS_GROUP_SIZE={size}: number "
                f"the pods from 0 to {size - 1}"
            )
        leader = environment.get("LWS_LEADER_ADDRESS", "")
        if not leader:
            raise PermanentError(
                f"the configuration has gang.pods {gang.pods}, but the environment has no "
                "LWS_LEADER_ADDRESS: set it to the name of the pod with LWS_WORKER_INDEX=0"
            )
        group = environment.get("LWS_GROUP_INDEX", "")
        if gang.holds is not None and not group.isdecimal():
            raise PermanentError(
                f"the configuration has gang.holds {gang.holds}, but the environment has "
                f"LWS_GROUP_INDEX={group!r}: set it to the number of the group, or remove "
                "gang.holds"
            )
        return cls(index, leader, host_name(environment), group)


def _number(environment: Mapping[str, str], name: str, gang: Gang) -> int:
    value = environment.get(name, "")
    if not (value.isascii() and value.isdecimal()):
        raise PermanentError(
            f"the configuration has gang.pods {gang.pods}, but the environment has "
            f"{name}={value!r}: start the pods with a LeaderWorkerSet, set {name} to a number in "
            "each pod, or remove gang"
        )
    return int(value)


def host_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the node's name: NODE_NAME, which Kubernetes sets in the pod, or the hostname."""
    return environment.get("NODE_NAME") or socket.gethostname()
