"""Which of the pods of a model this one is, as a LeaderWorkerSet says in the environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_server.config import Gang
from deepseek_server.errors import PermanentError


@dataclass(frozen=True)
class Pod:
    """One of the pods that compute a model together.

    Attributes:
        index: its number, from 0; that one leads.
        leader: where the leader is, a name or an address.
        host: what people call the machine that it runs on.
        group: which of the model's replicas it is a part of; empty where nobody says.
    """

    index: int
    leader: str
    host: str
    group: str = ""

    @property
    def leads(self) -> bool:
        """Whether it is the one that clients talk to."""
        return self.index == 0

    @classmethod
    def from_environment(cls, gang: Gang, environment: Mapping[str, str] = os.environ) -> "Pod":
        """What LWS_LEADER_ADDRESS, LWS_GROUP_SIZE, LWS_WORKER_INDEX and LWS_GROUP_INDEX say.

        Raises:
            PermanentError: they say something else than the configuration, or nothing.
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
                f"LWS_GROUP_INDEX={group!r}: set it to the number of the group, or leave out "
                "gang.holds"
            )
        return cls(index, leader, host_name(environment), group)


def _number(environment: Mapping[str, str], name: str, gang: Gang) -> int:
    value = environment.get(name, "")
    if not (value.isascii() and value.isdecimal()):
        raise PermanentError(
            f"the configuration has gang.pods {gang.pods}, but the environment has "
            f"{name}={value!r}: start the pods by a LeaderWorkerSet, or set {name} to a number for "
            "each, or leave out gang"
        )
    return int(value)


def host_name(environment: Mapping[str, str] = os.environ) -> str:
    """What people call this machine: NODE_NAME, which a pod gets from Kubernetes, else its own."""
    return environment.get("NODE_NAME") or socket.gethostname()
