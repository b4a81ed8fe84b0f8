"""One pod of a gang: the start of its part of the engine.

The start waits until the group is not held and all other pods have connected.
"""

import socket

from deepseek_server.config import Config
from deepseek_server.distributed import rendezvous, start_holds
from deepseek_server.distributed.gang import Pod
from deepseek_server.engine.ipc import NetworkReport
from deepseek_server.errors import GangError, StartError
from deepseek_server.server.lifecycle import GangState, Lifecycle
from deepseek_server.worker.launch import GangWorker

# Timeout of the check whether the leader is reachable.
LOOK_SECONDS = 2.0


class GangMember:
    """The gang, from the view of one pod.

    Args:
        config: the configuration, which has a gang.
        pod: this pod.
        lifecycle: shows what this pod waits for.
    """

    def __init__(self, config: Config, pod: Pod, lifecycle: Lifecycle) -> None:
        assert config.gang is not None  # noqa: S101 - there are several pods
        self._gang, self._pod, self._lifecycle = config.gang, pod, lifecycle
        self._worker: GangWorker | None = None
        # Kept open to the end: the leader takes a closed connection for a lost pod.
        self._connected_pods: rendezvous.ConnectedPods | None = None
        leader = "" if pod.leads else pod.leader
        lifecycle.gang = GangState(self._gang.pods, config.tensor_parallel, pod.host, leader)

    @property
    def leads(self) -> bool:
        """Whether this pod is the leader, which serves clients."""
        return self._pod.leads

    def launch(self, config: Config) -> GangWorker:
        """Start this pod's part of the engine once all pods have connected.

        Raises:
            StartError: pods are missing, or their versions or configurations differ.
        """
        if self._gang.holds is not None:
            start_holds.await_release(self._gang.holds, self._pod.group, self._lifecycle.hold)
            self._lifecycle.release()
        self._connected_pods = rendezvous.connect(config, self._pod, self._on_connect)
        self._worker = worker = GangWorker(config, self._pod, self._connected_pods.hosts)
        if self.leads:
            self._connected_pods.watch(lambda pod: worker.abandon(self._disconnected(pod)))
        return worker

    def _disconnected(self, pod: int) -> GangError:
        assert self._connected_pods is not None  # noqa: S101 - only called once pods have connected
        return GangError(
            f"pod {pod} on {self._connected_pods.hosts[pod]} disconnected before its ranks joined, so "
            f"rank 0 ends too: the pod may have been replaced"
        )

    def record_network(self, network_report: NetworkReport) -> None:
        """Record that the ranks of all pods have connected."""
        if self._connected_pods is not None:
            self._connected_pods.close()
        self._lifecycle.record_network(network_report)

    def _on_connect(self, count: int) -> None:
        self._lifecycle.progress.begin(f"{count} of {self._gang.pods} pods have connected")

    def leader_is_reachable(self) -> bool:
        """Return whether the leader's rendezvous port still accepts connections."""
        try:
            with socket.create_connection((self._pod.leader, self._gang.port), LOOK_SECONDS):
                return True
        except OSError:
            return False

    def failure(self) -> StartError:
        """Return why the engine has ended."""
        assert self._worker is not None  # noqa: S101 - there was an engine
        return self._worker.failure()

    def end(self) -> None:
        """Stop everything that `launch` started."""
        if self._worker is not None:
            self._worker.end()
        if self._connected_pods is not None:
            self._connected_pods.leave()
