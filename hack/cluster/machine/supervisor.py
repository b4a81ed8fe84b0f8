"""The cluster's first process, which starts and watches the components.

It is process 1 of a process namespace, so when it exits for any reason, the kernel kills every
program of the cluster; mounts, links and rules disappear with their namespaces.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from hack.cluster import components, credentials
from hack.cluster.component import Site
from hack.cluster.faults import ClusterError
from hack.cluster.machine import isolation
from hack.cluster.machine.network import HostNetwork
from hack.cluster.machine.process import Process
from hack.cluster.machine.state import Request, State, Status
from hack.cluster.machine.store import claim

TICK = 0.05  # seconds
PARTS_WITH_STORE = {"node", "registry"}


class Supervisor:
    """Reconciles the cluster with the latest request."""

    def __init__(self, state: State, store: Path, host: HostNetwork, lifeline: int | None) -> None:
        """Set the paths and the lifeline, a pipe whose closing stops the cluster."""
        self._state = state
        self._store = store
        self._store_claimed = False
        self._host = host
        self._lifeline = lifeline
        self._status = Status()
        self._written: Status | None = None
        self._site: Site | None = None
        self._processes: dict[str, Process] = {}

    def run(self) -> None:
        """Run until stopped, or until the lifeline closes."""
        while self._wanted():
            self._reap()
            self._advance()
            self._report()
            time.sleep(TICK)

    def _wanted(self) -> bool:
        """Follow the request; return False if the cluster has to stop."""
        if self._lifeline is not None and select.select([self._lifeline], [], [], 0)[0]:
            return False
        request = self._state.read_request()
        if request is None or request.stop:
            return False
        if request.serial == self._status.serial:
            return True
        try:
            self._follow(request)
            self._status.failure = ""
        except ClusterError as error:
            self._status.failure = str(error)
        except Exception as error:
            # A failed addition must not stop the running cluster.
            traceback.print_exc()
            self._status.failure = f"{error!r}, see {self._state.logs / 'supervisor.log'}"
        self._status.serial = request.serial
        self._report()
        # Running components continue even if an addition failed.
        return bool(self._processes)

    def _follow(self, request: Request) -> None:
        if not self._store_claimed and PARTS_WITH_STORE.intersection(request.parts):
            claim(self._store, self._state.root)
            self._store_claimed = True
        if self._site is None:
            self._site = self._settle(request)
        self._site = replace(self._site, request=request)
        if "node" in request.parts:
            isolation.route_pods()
        if request.egress and not self._status.egress:
            self._status.host_forwarded = self._host.open_egress(self._site.addresses)
        for component in components.describe(self._site):
            process = self._processes.get(component.name)
            if process is None:
                self._processes[component.name] = Process(component, self._state.logs)
            else:
                process.change(component)
        self._status.parts = request.parts
        self._status.gpus = request.gpus
        self._status.kwok_nodes = request.kwok_nodes
        self._status.egress = request.egress

    def _settle(self, request: Request) -> Site:
        """Set up addresses, and everything that depends on them."""
        addresses = self._host.connect()
        self._status.slot = addresses.slot
        site = Site(self._state, addresses, request, self._store)
        isolation.remove_cgroups(addresses.slot)
        isolation.create_cgroups(addresses.slot)
        credentials.issue(site)
        return site

    def _reap(self) -> None:
        """Reap exited processes: components, and their orphans, which process 1 inherits."""
        while True:
            try:
                pid, result = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self._processes.values():
                if process.pid == pid:
                    process.ended(os.waitstatus_to_exitcode(result))

    def _advance(self) -> None:
        ready = {name for name, process in self._processes.items() if process.ready}
        for process in self._processes.values():
            if ready.issuperset(process.component.after):
                process.advance()

    def _report(self) -> None:
        self._status.components = {
            name: process.progress() for name, process in self._processes.items()
        }
        if self._status != self._written:
            self._state.write_status(self._status)
            self._written = replace(self._status)


def _clear(state: State) -> None:
    """Remove the files of the previous cluster of this directory, including its logs."""
    for folder in (state.data, state.pki, state.config, state.logs):
        if folder != state.logs:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    for log in state.logs.iterdir():
        # Our own output already goes there.
        if log.name != "supervisor.log":
            log.unlink()


def main() -> None:
    """Run the cluster of a state directory in the namespaces of this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--host-network", type=int, required=True, help="file descriptor")
    parser.add_argument("--lifeline", type=int, help="file descriptor")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    state = State(options.state)
    try:
        _clear(state)
        # On many machines a link into /run, which will be covered by a mount.
        shutil.copyfile("/etc/resolv.conf", state.host_resolvers)
        isolation.enter(state)
    except ClusterError as error:
        state.write_status(Status(failure=str(error)))
        return
    host = HostNetwork(options.host_network)
    Supervisor(state, options.store, host, options.lifeline).run()


if __name__ == "__main__":
    main()
