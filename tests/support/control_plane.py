"""A control plane with the CRD installed, which ends with the test run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from tests.support.kube import wait_until_served
from tests.support.repository import ROOT

CRDS = ROOT / "crds"


@contextmanager
def running(target: Target, parts: Sequence[str]) -> Iterator[Target]:
    """Start these parts and install the CRD; stop them at the end if they were started here."""
    started = target.up(parts, lifeline=True)
    kubectl(target, "apply", "--server-side", "--filename", str(CRDS))
    wait_until_served(target, *(path.stem for path in CRDS.glob("*.yaml")))
    yield target
    if started:
        target.down()
