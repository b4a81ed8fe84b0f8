"""The embedded cluster from the host's side: start, status and stop."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hack.cluster import parts
from hack.cluster.component import NODE_NAME
from hack.cluster.components.registry import PORT, REGISTRY
from hack.cluster.faults import ClusterError
from hack.cluster.images import istio_proxy
from hack.cluster.machine import isolation, network, packages
from hack.cluster.machine.network import Addresses
from hack.cluster.machine.state import Request, State, Status
from hack.cluster.machine.store import DEFAULT_STORE, store_path
from hack.cluster.progress import done, say, step
from hack.cluster.toolchain import build

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_STATE = REPOSITORY / ".cluster"
DEFAULT_GPUS = 4
DEFAULT_KWOK_NODES = 4
START_PATIENCE = 180.0  # seconds
STOP_PATIENCE = 15.0  # seconds
LINK_PATIENCE = 5.0  # seconds


class EmbeddedCluster:
    """A cluster on this machine, identified by its state directory."""

    kind = "embedded"
    kind_cluster = ""
    registry_name = REGISTRY

    def __init__(self, state: Path = DEFAULT_STATE, store: str = DEFAULT_STORE) -> None:
        """Identify a cluster without starting it.

        Args:
            state: its state directory.
            store: name of the image store that it uses while it runs.
        """
        self._state = State(state.absolute())
        self._store = store_path(store)
        self._lifeline: int | None = None

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the cluster's administrator."""
        return self._state.kubeconfig

    @property
    def kubectl(self) -> Path:
        """The cluster's own kubectl, built if missing."""
        return build(["kubernetes"])["kubernetes"] / "bin" / "kubectl"

    @property
    def helm(self) -> Path:
        """Helm, built if missing."""
        return build(["helm"])["helm"] / "bin" / "helm"

    @property
    def logs(self) -> Path:
        """Directory of the components' logs and of `audit.log`, a JSON line per API write."""
        return self._state.logs

    @property
    def addresses(self) -> Addresses:
        """The networks of the running cluster.

        Raises:
            ClusterError: it is not running.
        """
        slot = self.status().slot
        if slot is None:
            raise ClusterError("the cluster is not running: python -m hack.cluster up")
        return Addresses(slot)

    @property
    def registry_push_host(self) -> str:
        """Address to which the host pushes images over plain HTTP; pods use `registry_name`."""
        return f"{self.addresses.cluster}:{PORT}"

    def is_up(self) -> bool:
        """Return whether all requested parts are running and ready."""
        return self.status().ready

    def describe(self) -> list[str]:
        """Return lines that describe its state."""
        status = self.status()
        if not self._state.is_running():
            return [f"no cluster is running in {self._state.root}"]
        lines = [
            f"parts       {', '.join(status.parts)}",
            f"kubeconfig  {self.kubeconfig}",
            f"GPUs        {status.gpus} on {NODE_NAME}, {status.kwok_nodes} fake nodes",
            f"egress      {'on' if status.egress else 'off'}",
        ]
        if "registry" in status.parts:
            lines.append(f"registry    push to {self.registry_push_host}, pull {REGISTRY}")
        for name, progress in status.components.items():
            restarts = f", restarted {progress.restarts} times" if progress.restarts else ""
            lines.append(f"  {name:24} {progress.state}{restarts} {progress.message}".rstrip())
        return [*lines, *([status.failure] if status.failure else [])]

    def status(self) -> Status:
        """Return the status of the running cluster; an empty status if none runs."""
        return self._state.read_status() if self._state.is_running() else Status()

    def up(
        self,
        wanted: Iterable[str] = parts.DEFAULT,
        *,
        gpus: int | None = None,
        kwok_nodes: int | None = None,
        egress: bool = False,
        lifeline: bool = False,
    ) -> bool:
        """Start the cluster, or add missing parts to a running one.

        Args:
            wanted: names of parts.PARTS; their dependencies are added.
            gpus: number of GPUs that the real node advertises; default: 4.
            kwok_nodes: minimum number of fake nodes; more than 0 implies the part `kwok`.
            egress: let pods reach the networks that the host reaches.
            lifeline: stop the cluster when this process ends in any way.

        Returns:
            Whether the cluster was started; False if it was already running.

        Raises:
            ClusterError: something is missing on this machine or a component does not start.
        """
        check_machine()
        names = parts.expand([*wanted, *(["kwok"] if kwok_nodes else [])])
        packages.ensure(names)
        with self._one_at_a_time():
            running = self._state.is_running()
            before = self._state.read_request() if running else None
            request = _merge(before, names, gpus=gpus, kwok_nodes=kwok_nodes, egress=egress)
            if before == request and self.is_up():
                say(f"the cluster is already running: {', '.join(request.parts)}")
                # A killed `up` may have stopped before this.
                self._push_images(request)
                return False
            self._state.write_request(request)
            if not running:
                self._start(lifeline=lifeline)
            try:
                self._wait(request)
                self._push_images(request)
            except BaseException:
                if not running:
                    self._stop()
                raise
        return not running

    def down(self) -> None:
        """Stop the cluster and remove everything except logs, images and built programs."""
        with self._one_at_a_time():
            self._stop()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Block a second `up` or `down` until the first is complete."""
        self._state.root.mkdir(parents=True, exist_ok=True)
        with (self._state.root / "command.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _start(self, *, lifeline: bool) -> None:
        lock = self._state.lock()
        if lock is None:
            raise ClusterError(f"a cluster was just started in {self._state.root}; try again")
        # The previous cluster in this directory may have been killed without a cleanup.
        self._clean()
        self._forget()
        host_network = os.open("/proc/self/ns/net", os.O_RDONLY)
        inherited = [lock, host_network]
        command = [
            *(*isolation.COMMAND, sys.executable, "-m", "hack.cluster.machine.supervisor"),
            f"--state={self._state.root}",
            f"--store={self._store}",
            f"--host-network={host_network}",
        ]
        if lifeline:
            # The pipe carries no data: our end closes when this process ends.
            theirs, self._lifeline = os.pipe()
            inherited.append(theirs)
            command.append(f"--lifeline={theirs}")
        self._state.logs.mkdir(parents=True, exist_ok=True)
        with (self._state.logs / "supervisor.log").open("w") as log:
            subprocess.Popen(
                command,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                start_new_session=True,
            )
        for handle in inherited:
            os.close(handle)

    def _push_images(self, request: Request) -> None:
        """Push the images that parts build and pods need to the registry."""
        if "istio" in request.parts:
            istio_proxy.provide(Path(request.artefacts["istio"]), self.registry_push_host)

    def _wait(self, request: Request) -> None:
        deadline = time.monotonic() + START_PATIENCE
        shown = {n for n, p in self._state.read_status().components.items() if p.state == "ready"}
        with step("starting the cluster") as current:
            while True:
                status = self._state.read_status()
                running = self._state.is_running()
                if status.serial == request.serial or not running:
                    if status.failure:
                        raise ClusterError(status.failure)
                    for name, progress in status.components.items():
                        if progress.state == "ready" and name not in shown:
                            shown.add(name)
                            done(name, progress.seconds)
                    if running and status.ready:
                        current.text = f"cluster is up: {', '.join(status.parts)}"
                        return
                    self._check(status, running=running, late=time.monotonic() > deadline)
                waiting = [n for n, p in status.components.items() if p.state == "starting"]
                current.text = f"starting {', '.join(waiting) or 'the cluster'}"
                time.sleep(0.1)

    def _check(self, status: Status, *, running: bool, late: bool) -> None:
        """Raise an error if the cluster cannot become ready any more."""
        if not running:
            log = self._state.logs / "supervisor.log"
            raise ClusterError(f"the cluster has exited unexpectedly: {_tail(log)}")
        unready = {name: p for name, p in status.components.items() if p.state != "ready"}
        broken = [name for name, progress in unready.items() if progress.state == "failed"]
        if not late and not broken:
            return
        name = broken[0] if broken else next(n for n, p in unready.items() if p.state != "waiting")
        what = "does not start" if broken else f"is not ready after {START_PATIENCE:.0f} s"
        raise ClusterError(f"{name} {what}: {_tail(self._state.logs / f'{name}.log')}")

    def _stop(self) -> None:
        request = self._state.read_request()
        if self._state.is_running() and request is not None:
            self._state.write_request(Request(**vars(request) | {"stop": True}))
            if not _within(STOP_PATIENCE, lambda: not self._state.is_running()):
                # Only processes of the cluster hold the lock, so no other process is killed.
                for pid in holders(self._state.lock_file):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                _within(STOP_PATIENCE, lambda: not self._state.is_running())
        self._clean()
        self._forget()

    def _clean(self) -> None:
        """Remove what remains on the host after the cluster's last process."""
        status = self._state.read_status()
        if status.slot is None:
            return
        link = Path("/sys/class/net", Addresses(status.slot).host_link_name)
        # The link disappears shortly after the last process; if not, a newer cluster has the slot.
        if not _within(LINK_PATIENCE, lambda: not link.exists()):
            return
        slot = status.slot
        _within(STOP_PATIENCE, lambda: isolation.remove_cgroups(slot))
        if status.egress:
            network.close_egress(slot, stop_forwarding=not status.host_forwarded)

    def _forget(self) -> None:
        """Remove files of a stopped cluster that are stale or contain secrets."""
        for folder in (self._state.data, self._state.pki, self._state.config):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("status.json", "kubeconfig"):
            (self._state.root / name).unlink(missing_ok=True)


def check_machine() -> None:
    """Check that this machine can run an embedded cluster.

    Raises:
        ClusterError: the system is not Linux, or the user is not root.
    """
    if platform.system() != "Linux":
        raise ClusterError(
            f"the embedded cluster needs Linux, this is {platform.system()}: install Docker and "
            "kind and use CLUSTER=kind, or use the cluster of kubectl's context with CLUSTER=current"
        )
    if os.geteuid() != 0:
        raise ClusterError(
            "the embedded cluster needs root (it creates network links and containers): run this as "
            "root, or use CLUSTER=kind with Docker, or CLUSTER=current"
        )


def holders(lock_file: Path) -> list[int]:
    """Return the processes that have a file open, according to /proc."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            if any(handle.readlink() == lock_file for handle in (process / "fd").iterdir()):
                found.append(int(process.name))
    return [pid for pid in found if pid != os.getpid()]


def _merge(
    before: Request | None,
    names: Sequence[str],
    *,
    gpus: int | None,
    kwok_nodes: int | None,
    egress: bool,
) -> Request:
    """Return a request for the running parts plus the wanted ones."""
    wanted = parts.expand([*names, *(before.parts if before else ())])
    if kwok_nodes is None:
        # A cluster that already has the part keeps its number of nodes, also if it is 0.
        new = "kwok" in wanted and (before is None or "kwok" not in before.parts)
        kwok_nodes = DEFAULT_KWOK_NODES if new else 0
    artefacts = {name: str(path) for name, path in build(parts.groups_of(wanted)).items()}
    merged = Request(
        serial=before.serial if before else time.time_ns(),
        parts=wanted,
        # Running programs keep their build, even if their sources have changed since.
        artefacts=artefacts | (before.artefacts if before else {}),
        gpus=gpus if gpus is not None else before.gpus if before else DEFAULT_GPUS,
        kwok_nodes=max(kwok_nodes, before.kwok_nodes if before else 0),
        egress=egress or (before is not None and before.egress),
    )
    if before is None or merged == before:
        return merged
    return Request(**vars(merged) | {"serial": time.time_ns()})


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-6:] if log.exists() else []
    return "\n  ".join([f"see {log}", *lines])


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
