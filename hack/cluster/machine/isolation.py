"""Isolation of the cluster's programs from the machine.

The supervisor starts in new mount, process, network, host name and IPC namespaces. Mounts and links
in them disappear with the last process. Only control groups are shared with the machine: they are
below one name per cluster and are removed by it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hack.cluster.component import NODE_NAME
from hack.cluster.faults import ClusterError
from hack.cluster.machine.state import State

COMMAND = (
    "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child",
    "--mount-proc", "--",
)  # fmt: skip
CGROUPS = Path("/sys/fs/cgroup")

# Kernel settings that the kubelet requires: it reads these values and leaves the machine's alone.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
# Fixed paths of kubelet and CNI, over which folders of the cluster are mounted.
PRIVATE_FOLDERS = ("/var/log", "/var/lib/kubelet", "/var/lib/cni")


def enter(state: State) -> None:
    """Set up the namespaces in which this process was started.

    Raises:
        ClusterError: the kernel refused a mount.
    """
    socket.sethostname(NODE_NAME)
    # The kubelet propagates mounts to containers. Our namespace is already separate from the host's.
    _run("mount", "--make-rshared", "/")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for folder in PRIVATE_FOLDERS:
        own = state.data / "private" / folder.strip("/").replace("/", "-")
        own.mkdir(parents=True, exist_ok=True)
        Path(folder).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(own), folder)
    for name, value in KERNEL_SETTINGS.items():
        if not Path("/proc/sys", name).exists():
            continue
        own = state.data / "private" / "sysctl" / name
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(f"{value}\n")
        _run("mount", "--bind", str(own), f"/proc/sys/{name}")


def route_pods() -> None:
    """Let the network namespace forward packets, and pass those between pods through iptables.

    Raises:
        ClusterError: the kernel module br_netfilter is not loaded.
    """
    filtered = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not filtered.exists() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "br_netfilter"], capture_output=True, check=False)
    for setting in (Path("/proc/sys/net/ipv4/ip_forward"), filtered):
        try:
            setting.write_text("1")
        except OSError as error:
            raise ClusterError(
                f"cannot set {setting} ({error.strerror}); "
                "Services need the kernel module br_netfilter: modprobe br_netfilter"
            ) from error


def cgroup_name(slot: int) -> str:
    """Return the name of the control group of all pods of a cluster."""
    return f"deepseek-operator-{slot}"


def create_cgroups(slot: int) -> None:
    """Create the pods' empty control group in every hierarchy."""
    for hierarchy in _hierarchies():
        group = hierarchy / cgroup_name(slot)
        group.mkdir(exist_ok=True)
        # A new cpuset has no CPUs and no memory nodes, and accepts no process.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists() and (hierarchy / name).exists():
                (group / name).write_text((hierarchy / name).read_text())


def remove_cgroups(slot: int) -> bool:
    """Remove a cluster's control groups; return False if a process is still in one of them."""
    clean = True
    for hierarchy in _hierarchies():
        top = hierarchy / cgroup_name(slot)
        if not top.exists():
            continue
        folders = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
        for folder in (*folders, top):
            try:
                folder.rmdir()
            except OSError:
                clean = False
    return clean


def _hierarchies() -> Iterator[Path]:
    if (CGROUPS / "cgroup.controllers").exists():
        yield CGROUPS
        return
    for path in sorted(CGROUPS.iterdir()):
        # Symbolic links are aliases of a hierarchy.
        if path.is_dir() and not path.is_symlink():
            yield path


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise ClusterError(
            f"isolating the cluster failed at `{shutil.which(command[0])} "
            f"{' '.join(command[1:])}`: {result.stderr.strip()}"
        )
