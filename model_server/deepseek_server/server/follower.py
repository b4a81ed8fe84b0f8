"""One of the several pods that serve a model: how its part of the engine is started.

Whatever has to be waited for before that is waited for here: that the group is not held, and that
the other pods have come.
"""

import socket

from deepseek_server.config import Config
from deepseek_server.distributed import rendezvous as rollcall
from deepseek_server.distributed import start_holds as holds
from deepseek_server.distributed.gang import Pod
from deepseek_server.engine.ipc import Met
from deepseek_server.errors import GangError, StartError
from deepseek_server.server.lifecycle import GangState, Lifecycle
from deepseek_server.worker.launch import GangWorker

# How long a leader may take to answer one who looks whether it is there.
LOOK_SECONDS = 2.0


class Crew:
    """The pods of a model, seen from one of them.

    Args:
        config: what is to be served, by several pods.
        pod: which of them this one is.
        lifecycle: told what this pod waits for.
    """

    def __init__(self, config: Config, pod: Pod, lifecycle: Lifecycle) -> None:
        assert config.gang is not None  # noqa: S101 - there are several pods
        self._gang, self._pod, self._lifecycle = config.gang, pod, lifecycle
        self._worker: GangWorker | None = None
        # Kept to the end: a pod that lets go of its connection has gone.
        self._meeting: rollcall.Meeting | None = None
        leader = "" if pod.leads else pod.leader
        lifecycle.gang = GangState(self._gang.pods, config.tensor_parallel, pod.host, leader)

    @property
    def leads(self) -> bool:
        """Whether this pod is the one that clients talk to."""
        return self._pod.leads

    def launch(self, config: Config) -> GangWorker:
        """Start this pod's part of the engine once all pods are here.

        Raises:
            StartError: they did not come, or do not fit together.
        """
        if self._gang.holds is not None:
            holds.await_release(self._gang.holds, self._pod.group, self._lifecycle.hold)
            self._lifecycle.release()
        self._meeting = rollcall.call(config, self._pod, self._here)
        self._worker = worker = GangWorker(config, self._pod, self._meeting.hosts)
        if self.leads:
            self._meeting.watch(lambda pod: worker.abandon(self._left(pod)))
        return worker

    def _left(self, pod: int) -> GangError:
        assert self._meeting is not None  # noqa: S101 - somebody has left it
        return GangError(
            f"pod {pod} on {self._meeting.hosts[pod]} has gone before its ranks have met those of "
            f"the others, so rank 0 ends too: it may have been about to be replaced"
        )

    def meet(self, met: Met) -> None:
        """The ranks of all pods have met."""
        if self._meeting is not None:
            self._meeting.close()
        self._lifecycle.meet(met)

    def _here(self, count: int) -> None:
        self._lifecycle.progress.begin(f"{count} of {self._gang.pods} pods of the model are here")

    def leader_is_there(self) -> bool:
        """Whether the leader's ranks are still to be met where all ranks have met."""
        try:
            with socket.create_connection((self._pod.leader, self._gang.port), LOOK_SECONDS):
                return True
        except OSError:
            return False

    def failure(self) -> StartError:
        """Why the engine is gone."""
        assert self._worker is not None  # noqa: S101 - there was an engine
        return self._worker.failure()

    def end(self) -> None:
        """Let nothing run on that was started."""
        if self._worker is not None:
            self._worker.end()
        if self._meeting is not None:
            self._meeting.leave()
