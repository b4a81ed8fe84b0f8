"""The rows: the workloads of the operator, and their figures."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.operator.arrivals import Arrivals, arrivals
from benchmarks.operator.bare import MADE, Bare, at_once, custom_resource, names
from benchmarks.operator.site import Site
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.connection import Connection, connection
from deepseek_operator.cluster.kinds import (
    DEPLOYMENT,
    RESOURCE,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from deepseek_operator.plan.state.labels import MANAGER
from tests.support.foreign_pods import A_LOT, ForeignPods
from tests.support.kube import WRITES

Row = dict[str, Any]

PATIENCE = 1800.0
MS = 1000.0
FOREIGN_SECONDS = 60.0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def measure(site: Site, plan: argparse.Namespace) -> dict[str, Row]:
    """Measure all rows, in the order in which the cluster fills."""
    found = Rows()
    async with connection() as api:
        client = Client(api)
        await _namespaces(client, "latency", "burst", "bare", "many", "foreign")
        site.start()
        try:
            async with arrivals(client) as seen:
                found.add("apply", await apply_to_children(client, seen, plan.samples))
                found.add("burst", await burst(site, api, seen, plan.resources))
                found.add("memory", {"resources": plan.resources, "mib": site.memory()})
                found.add("restored", await restored(api, seen, plan.samples))
            found.add("steady", await steady(site, plan.seconds, plan.resources))
            found.add(
                "foreign pods", await foreign_pods(site, client, min(FOREIGN_SECONDS, plan.seconds))
            )
            if plan.many:
                site.operator.kill()
                await grow(client, plan.many - plan.resources)
                found.add("start", await start(site, client, plan.many))
                found.add("memory at many", {"resources": plan.many, "mib": site.memory()})
        finally:
            site.operator.kill()
    return found


class Rows(dict[str, Row]):
    """Measured rows, printed as they are added."""

    def add(self, name: str, row: Row) -> None:
        self[name] = row
        say(f"  {name}: {json.dumps(row)}")


async def apply_to_children(client: Client, seen: Arrivals, samples: int) -> Row:
    """Measure from a resource's creation to its last child, one at a time, with an idle operator."""
    say("apply of one resource")
    latencies = []
    for name in names("one", samples):
        begun = time.monotonic()
        await client.create(RESOURCE, custom_resource("latency", name))
        latencies.append(await seen.all_of([name], PATIENCE) - begun)
        await asyncio.sleep(0.05)
    return percentiles(latencies)


async def burst(site: Site, api: Connection, seen: Arrivals, count: int) -> Row:
    """Create all resources at once: by a bare client, by the operator, by the bare client again."""
    say(f"{count} resources at once, by a bare client")
    client = Client(api)
    half = names("bare", count)
    site.operator.kill()
    first = await _bare(site, api, half[: count // 2])
    site.start()
    say(f"{count} resources at once, by the operator")
    wanted = names("burst", count)
    costs = site.watch_costs()
    begun = time.monotonic()

    async def create(name: str) -> None:
        await client.create(RESOURCE, custom_resource("burst", name))

    await at_once(create, wanted)
    took = await seen.all_of(wanted, PATIENCE) - begun
    spent = costs.so_far()
    site.operator.kill()
    second = await _bare(site, api, half[count // 2 :])
    site.start()
    bare = first["seconds"] + second["seconds"]
    return {
        "resources": count,
        "seconds": round(took, 2),
        "bare seconds": round(bare, 2),
        "ratio": round(took / bare, 2),
        "busy cores": spent.shares(),
        "bare busy cores": second["busy cores"],
    }


async def _bare(site: Site, api: Connection, wanted: list[str]) -> Row:
    bare = Bare(Client(api), "bare", wanted)
    costs = site.watch_costs()
    await bare.write_all()
    spent = costs.so_far()
    await _delete(api, "bare", wanted)
    return {"seconds": spent.seconds, "busy cores": spent.shares()}


async def restored(api: Connection, seen: Arrivals, samples: int) -> Row:
    """Delete one child at a time and measure until it is restored."""
    say("children deleted")
    latencies = []
    for number, name in enumerate(names("burst", samples)):
        kind = (SERVICE, DEPLOYMENT)[number % 2]
        seen.forget(kind, name)
        begun = time.monotonic()
        await delete(api, kind, "burst", name)
        latencies.append(await seen.all_of([name], PATIENCE) - begun)
        await asyncio.sleep(0.05)
    return percentiles(latencies)


async def steady(site: Site, seconds: float, count: int) -> Row:
    """Measure the operator's writes and cost while nothing changes."""
    say(f"{count} resources, no changes for {seconds:.0f} s")
    await _quiet(site)
    offset = site.audit_log.stat().st_size
    costs = site.watch_costs()
    await asyncio.sleep(seconds)
    spent = costs.so_far()
    writes = _writes(site.audit_log, offset)
    return {
        "seconds": seconds,
        "writes": sum(1 for what in writes if what != "leases"),
        "lease renewals": writes.count("leases"),
        "cpu percent of a core": round(100 * spent.operator / spent.seconds, 2),
        "mib": site.memory(),
    }


async def foreign_pods(site: Site, client: Client, seconds: float) -> Row:
    """Measure the operator's cost of watching foreign pods that change as in a large cluster."""
    say(f"foreign pods change for {seconds:.0f} s")
    pods = ForeignPods("foreign")
    # Pods need a service account, and there may be no controller that creates it.
    metadata = {"name": "default", "namespace": "foreign"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    await client.apply(SERVICE_ACCOUNT, account)
    costs = site.watch_costs()
    end = time.monotonic() + seconds
    await pods.change(client, A_LOT, lambda: time.monotonic() < end)
    spent = costs.so_far()
    return {
        "changes": pods.written,
        "changes per second": round(pods.written / spent.seconds, 1),
        "cpu percent of a core": round(100 * spent.operator / spent.seconds, 2),
        "cpu ms per change": round(MS * spent.operator / pods.written, 3),
    }


async def grow(client: Client, count: int) -> None:
    """Create more resources with all children, as the operator would."""
    say(f"{count} more resources, by a bare client")
    await Bare(client, "many", names("many", count)).write_all()


async def start(site: Site, client: Client, count: int) -> Row:
    """Measure a start with existing resources, and a resource created at the same moment."""
    say(f"a start with {count} resources")
    async with arrivals(client) as seen:
        begun = time.monotonic()
        await client.create(RESOURCE, custom_resource("latency", "newcomer"))
        ready = await asyncio.to_thread(site.start)
        first = await seen.all_of(["newcomer"], PATIENCE) - begun
    costs = site.watch_costs()
    await _quiet(site)
    writes = await asyncio.to_thread(site.operator.metric, "deepseek_operator_writes_total")
    return {
        "resources": count,
        "writes": writes,
        "until ready": round(ready, 2),
        "until the first new resource has its children": round(first, 2),
        "until all are looked at": round(ready + costs.so_far().seconds, 1),
    }


async def _quiet(site: Site) -> None:
    """Wait until the work queue is empty twice in a row."""
    quiet = 0
    while quiet < 2:
        depth = await asyncio.to_thread(site.operator.metric, "deepseek_operator_queue_depth")
        quiet = quiet + 1 if depth == 0 else 0
        await asyncio.sleep(0.5)


def _writes(log: Path, offset: int) -> list[str]:
    """Return the operator's writes from the audit log, by kind."""
    with log.open("rb") as entries:
        entries.seek(offset)
        read = [json.loads(line) for line in entries if line.endswith(b"\n")]
    return [
        entry["objectRef"]["resource"]
        for entry in read
        if entry["stage"] == "ResponseComplete"
        and entry["verb"] in WRITES
        and entry["userAgent"].startswith(MANAGER)
    ]


async def _namespaces(client: Client, *wanted: str) -> None:
    kind = Kind("Namespace", "", "v1", "namespaces")
    for name in wanted:
        await client.create(kind, {"metadata": {"name": name}})


async def _delete(api: Connection, namespace: str, wanted: list[str]) -> None:
    for kind in (RESOURCE, *MADE):

        async def gone(name: str, kind: Kind = kind) -> None:
            await delete(api, kind, namespace, name)

        await at_once(gone, wanted)


async def delete(api: Connection, kind: Kind, namespace: str, name: str) -> None:
    """Delete an existing object."""
    limits = aiohttp.ClientTimeout(total=PATIENCE)
    async with api.send("DELETE", kind.path(namespace, name), limits=limits) as response:
        assert response.status == 200, await response.text()


def percentiles(latencies: list[float]) -> Row:
    """Return p50 and p99 in milliseconds."""
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {
        "samples": len(latencies),
        "p50 ms": round(cuts[49] * MS, 1),
        "p99 ms": round(cuts[98] * MS, 1),
    }
