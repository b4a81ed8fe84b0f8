"""The clusters of the end-to-end tests; tests of the same cluster run one after the other.

A started part stays up: its kinds, webhooks and firewall can't be removed from a running cluster. Each
cluster therefore starts with exactly the parts that the mark of its tests names, in any test order.
"""

from __future__ import annotations

import fcntl
import os

import pytest

from hack.cluster.embedded import DEFAULT_STATE, EmbeddedCluster
from hack.cluster.machine.store import DEFAULT_STORE, store_path
from hack.cluster.target import Target, open_target

PLAIN = "plain"
# Parts by the name in `pytest.mark.cluster(name)`; tests without the mark use the plain cluster.
PARTS = {
    PLAIN: ("node", "registry", "kwok", "lws"),
    "queue": ("node", "registry", "kwok", "kueue"),
    "mesh": ("node", "registry", "istio", "netpol"),
}
# Separate from the cluster that a developer has started in this checkout.
STATE = DEFAULT_STATE / "e2e"
OWN_STORE = "e2e"


def name_of(definition: pytest.Item | pytest.Function) -> str:
    """Return the name of the cluster that a test runs on."""
    mark = definition.get_closest_marker("cluster")
    return str(mark.args[0]) if mark else PLAIN


def start(name: str) -> tuple[Target, bool]:
    """Start a cluster, or use the existing one that DSO_CLUSTER names.

    Returns:
        The cluster, and whether the caller must stop it.

    Raises:
        ClusterError: It cannot be started.
    """
    target = open_target(state=STATE)
    if not isinstance(target, EmbeddedCluster):
        return target, target.up(["node", "registry"], lifeline=True)
    store = DEFAULT_STORE if _is_free(DEFAULT_STORE) else OWN_STORE
    cluster = EmbeddedCluster(STATE, store)
    cluster.down()  # remove what a killed run left
    cluster.up(PARTS[name], kwok_nodes=0, lifeline=True)
    return cluster, True


def _is_free(store: str) -> bool:
    """Return whether no running cluster uses an image store."""
    try:
        handle = os.open(store_path(store) / "lock", os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
