"""The worker process: loads the model, then runs the engine until the server ends.

Started by deepseek_server.worker.launch, which passes the socket to connect to. The job arrives as the
first message, so that the worker can initialize while the server still locates the files.
"""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Literal

from deepseek_server import logs
from deepseek_server.config import Config
from deepseek_server.distributed import exit_reasons, xid
from deepseek_server.distributed.exit_reasons import ExitReason
from deepseek_server.distributed.rank_info import GangInfo
from deepseek_server.engine.ipc import Close, Loading, StartFailed
from deepseek_server.errors import (
    FollowedError,
    PermanentError,
    StartError,
    TransientError,
    failure,
)
from deepseek_server.models.loading.checkpoint import Checkpoint
from deepseek_server.server.lifecycle import Progress

if TYPE_CHECKING:
    from deepseek_server.distributed.process_group import Group  # takes seconds

log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]

# Maximum number of running requests.
MAX_NUM_SEQS = 256
# Maximum tokens of a step, and prefill tokens per PROMPTS_PER_PREFILL_SHARE waiting prompts while
# other requests decode, which prefill delays. A CPU takes longer for a token.
MAX_NUM_BATCHED_TOKENS = {"cpu": 512, "cuda": 8192}
PREFILL_SHARE = {"cpu": 64, "cuda": 256}
REPORT_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Job:
    """The job of a worker."""

    config: Config
    checkpoint: Checkpoint


class _ReportedProgress(Progress):
    """Progress that is sent to the server if there is a connection."""

    def __init__(self, connection: Connection | None) -> None:
        super().__init__()
        self._connection = connection
        self._reported = 0.0

    def begin(self, stage: str, total: int = 0) -> None:
        super().begin(stage, total)
        self._report()

    def reach(self, loaded: int, total: int | None = None) -> None:
        super().reach(loaded, total)
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        self._reported = time.monotonic()
        if self._connection is not None:
            self._connection.send(Loading(self._stage, *self.bytes))


def work(device: Device, connection: Connection | None, gang_info: GangInfo | None = None) -> int:
    """Load the model of the first message and serve it.

    Args:
        device: the device to run the model on.
        connection: the connection to this pod's server; None in all but a pod's first process.
        gang_info: the ranks of all pods, if there are several pods.

    Returns:
        The exit code of the process.
    """
    # Imported here because it takes seconds, during which the server locates the files.
    from deepseek_server.distributed.process_group import SINGLE_PROCESS, join

    group = SINGLE_PROCESS
    try:
        job: Job | None = None
        if gang_info is None:
            job = None if connection is None else connection.recv()
            group = join(device)
            job = group.broadcast_object(job)
        else:
            group = join(device, gang_info)
            job = _agree(group, device, connection, gang_info)
        assert job is not None  # noqa: S101 - the first process has a connection
        _compute(device, connection, group, job, gang_info)
    except StartError as error:
        return _fail(connection, group, gang_info, error)
    except (EOFError, BrokenPipeError):
        log.info("the server has ended")
        if gang_info is not None:
            return _fail(None, group, gang_info, _server_gone(gang_info, _rank(), _rank()))
    except Exception as error:
        log.exception("loading failed")
        sentence = (
            f"loading failed ({type(error).__name__}: {error}): see the log of the model server"
        )
        return _fail(connection, group, gang_info, PermanentError(sentence))
    group.close()
    if connection is not None and _rank():
        with contextlib.suppress(OSError):  # the server has ended already
            connection.send(Close())
    return 0


def _rank() -> int:
    """Return the rank of this process, which is known even before the ranks have connected."""
    return int(os.environ.get("RANK", "0"))


def _agree(
    group: "Group", device: Device, connection: Connection | None, gang_info: GangInfo
) -> Job:
    """Check the network of a gang and receive the job, before weights are loaded.

    Each pod locates the files by itself, so every rank uses the job of its own pod's first process.

    Raises:
        StartError: the network is too slow, or a pod cannot get the files.
    """
    from deepseek_server.distributed.preflight import preflight

    network_report = preflight(group, device, gang_info)
    job: Job | StartFailed | None = None
    if connection is not None:
        connection.send(network_report)
        job = connection.recv()
    if isinstance(job, StartFailed):
        raise failure(job.exit_code, job.sentence)
    jobs: list[Job | None] = group.all_gather_object(job)
    here = jobs[group.rank - int(os.environ["LOCAL_RANK"])]
    assert here is not None  # noqa: S101 - the first process of a pod has a connection
    return here


def _compute(
    device: Device,
    connection: Connection | None,
    group: "Group",
    job: Job,
    gang_info: GangInfo | None,
) -> None:
    """Load the model and run the engine until it ends.

    Raises:
        StartError: the model cannot be loaded, or the engine of a gang cannot continue.
    """
    from deepseek_server.engine.core import DeviceLostError
    from deepseek_server.engine.loop import follow, serve
    from deepseek_server.models.build import load_engine

    core, ready = load_engine(
        job.checkpoint,
        job.config,
        _ReportedProgress(connection),
        group,
        max_num_seqs=MAX_NUM_SEQS,
        max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS[device],
        prefill_share=PREFILL_SHARE[device],
    )
    if connection is not None:
        connection.send(ready)
    if group.rank == 0:
        assert connection is not None  # noqa: S101 - the first process of a pod has one
        reason = serve(core, connection, group.broadcast_object)
        if reason and gang_info is not None:
            raise _device_lost(reason, gang_info, device, 0)
        return
    if connection is not None:
        threading.Thread(target=_await_end, args=(connection,), name="end", daemon=True).start()
    try:
        end = follow(core, group.broadcast_object)
    except DeviceLostError as error:
        if gang_info is None:
            raise
        log.exception("the engine cannot continue")
        raise _device_lost(str(error), gang_info, device, group.rank) from error
    if gang_info is not None and end.lost:
        raise _server_gone(gang_info, 0, group.rank)


def _await_end(connection: Connection) -> None:
    """End when this pod's server ends; it sends nothing else to the ranks of a follower."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    log.info("the server has ended")
    os._exit(TransientError.exit_code)


def _server_gone(gang_info: GangInfo, server: int, rank: int) -> FollowedError:
    return FollowedError(
        f"the server of {gang_info.named(server)} has ended, so rank {rank} ends too: see its log"
    )


def _device_lost(reason: str, gang_info: GangInfo, device: Device, rank: int) -> TransientError:
    driver_message = xid.latest() if device == "cuda" else ""
    more = f"; driver message: {driver_message}" if driver_message else ""
    return TransientError(f"{gang_info.named(rank)} cannot continue ({reason}{more})")


def _fail(
    connection: Connection | None, group: "Group", gang_info: GangInfo | None, error: StartError
) -> int:
    """Report why this process ends to the log, the server and the other ranks.

    Returns:
        The exit code; 0 for a single pod, whose processes end independently.
    """
    log.error("%s", error)
    if connection is not None:
        with contextlib.suppress(OSError):  # the server has ended already
            connection.send(StartFailed(str(error), error.exit_code))
    if gang_info is None:
        group.close()
        return 0
    rank = _rank()
    lost = 0 if isinstance(error, FollowedError) else None
    exit_reasons.write(gang_info.directory, ExitReason(rank, error.exit_code, str(error), lost))
    group.fail(str(error))
    return error.exit_code


def _end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, even if it hangs."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run a worker; arguments: device, socket of the server, and the GangInfo of a gang."""
    logs.set_up()
    device: Device = "cuda" if sys.argv[1] == "cuda" else "cpu"
    gang_info = GangInfo.read(sys.argv[3]) if len(sys.argv) > 3 else None
    if gang_info is not None:
        _end_with_parent()
    connection: Connection | None = None
    if os.environ.get("LOCAL_RANK", "0") == "0":
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(sys.argv[2])
        connection = Connection(connected.detach())
    code = work(device, connection, gang_info)
    if device == "cuda" or code:
        # Python's shutdown frees resources that NCCL and CUDA graphs share in the wrong order.
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    main()
