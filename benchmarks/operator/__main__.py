"""Measure the operator: table on standard error, JSON on standard output, exit code 1 below a floor."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.operator.report import failed, table
from benchmarks.operator.site import Site
from hack.cluster.embedded import DEFAULT_STATE, EmbeddedCluster
from hack.cluster.kubectl import kubectl

CRDS = Path(__file__).resolve().parents[2] / "crds"
STATE = DEFAULT_STATE / "bench"
# A node takes 250 pods.
PODS_PER_NODE = 200
# The embedded cluster has addresses for so many Services, a few left over.
SERVICES = 4000
MORE_SERVICES = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "bench"},
    "spec": {"cidrs": ["10.192.0.0/16"]},
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=__doc__)
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument(
        "--many", type=int, default=10_000, help="resources of the largest rows; 0: none"
    )
    parser.add_argument("--seconds", type=float, default=600, help="duration of the steady state")
    parser.add_argument("--samples", type=int, default=100, help="samples of each latency")
    parser.add_argument("--pods", action="store_true", help="with controllers and fake nodes")
    plan = parser.parse_args()
    cluster = EmbeddedCluster(STATE)
    nodes = plan.resources // PODS_PER_NODE + 1 if plan.pods else None
    started = cluster.up(("api",), kwok_nodes=nodes, lifeline=True)
    try:
        kubectl(cluster, "apply", "--server-side", "--filename", str(CRDS))
        kubectl(cluster, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        if plan.many > SERVICES:
            more_services(cluster)
        # Read when the client is imported.
        os.environ["KUBECONFIG"] = str(cluster.kubeconfig)
        from benchmarks.operator.rows import measure

        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            site = Site(STATE.absolute(), cluster.kubeconfig, Path(folder))
            found = asyncio.run(measure(site, plan))
    finally:
        if started:
            cluster.down()
    print(table(found), file=sys.stderr)
    print(json.dumps(found, indent=2))
    return 1 if failed(found) else 0


def more_services(cluster: EmbeddedCluster) -> None:
    """Add addresses for more Services; they need not be reachable."""
    kubectl(cluster, "apply", "--filename", "-", text=json.dumps(MORE_SERVICES))
    # The controller that would say so is not running.
    usable = {"type": "Ready", "status": "True", "reason": "Bench", "message": ""}
    usable["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    patch = json.dumps({"status": {"conditions": [usable]}})
    words = ("patch", "servicecidr", "bench", "--subresource=status", "--type=merge")
    kubectl(cluster, *words, "--patch", patch)


if __name__ == "__main__":
    sys.exit(main())
