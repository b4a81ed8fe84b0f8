"""The clusters of the end-to-end tests: tests of one cluster run together, and no two share parts.

A part that is up stays up (its kinds, webhooks and firewall cannot be taken out of a running cluster),
so whatever the order of the tests, each meets the parts that its mark names and no others.
"""

from __future__ import annotations

import fcntl
import os

import pytest

from hack.cluster.embedded import DEFAULT_STATE, EmbeddedCluster
from hack.cluster.machine.store import DEFAULT_STORE, store_path
from hack.cluster.target import Target, open_target

PLAIN = "plain"
# Parts by the name in `pytest.mark.cluster(name)`; tests without the mark get the plain one.
PARTS = {
    PLAIN: ("node", "registry", "kwok", "lws"),
    "queue": ("node", "registry", "kwok", "kueue"),
    "mesh": ("node", "registry", "istio", "netpol"),
}
# Apart from a cluster that a person has started in this checkout.
STATE = DEFAULT_STATE / "e2e"
OWN_STORE = "e2e"


def name_of(definition: pytest.Item | pytest.Function) -> str:
    """The name of the cluster that a test runs on."""
    mark = definition.get_closest_marker("cluster")
    return str(mark.args[0]) if mark else PLAIN


def start(name: str) -> tuple[Target, bool]:
    """Start a cluster, or take the one of others that DSO_CLUSTER names.

    Returns:
        The cluster, and whether the caller has to end it.

    Raises:
        ClusterError: It cannot be started.
    """
    target = open_target(state=STATE)
    if not isinstance(target, EmbeddedCluster):
        return target, target.up(["node", "registry"], lifeline=True)
    store = DEFAULT_STORE if _is_free(DEFAULT_STORE) else OWN_STORE
    cluster = EmbeddedCluster(STATE, store)
    cluster.down()  # what a killed run has left
    cluster.up(PARTS[name], kwok_nodes=0, lifeline=True)
    return cluster, True


def _is_free(store: str) -> bool:
    """Whether no running cluster has claimed an image store."""
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
