"""Models on several pods: their output equals that of one process, and they recover from failures."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster.embedded import REPOSITORY
from hack.cluster.reach import service_address
from hack.cluster.target import Target
from hack.models.tiny import make_tiny
from tests.e2e.test_canary import CANARY
from tests.support.e2e.engine import KILL, STOP, send
from tests.support.e2e.product import Product
from tests.support.e2e.traffic import continuous_requests
from tests.support.kube import MODEST, Kube, eventually, resource

# A start of four pods, each of which imports torch, on a machine of two busy cores; seconds.
START = 400.0
# From a failure until the replica serves again: detection, new pods, start, load; seconds.
RECOVERY = 300.0
QUESTION = {
    "messages": [{"role": "user", "content": "What is a gang?"}],
    "temperature": 0,
    "max_tokens": 24,
    "ignore_eos": True,
}
# Tiny tensors: with more threads the pods would only compete for the cores during their start.
ONE_THREAD = {
    "spec": {"containers": [{**MODEST, "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}]}
}


@pytest.fixture(scope="module")
def wide() -> Path:
    """A tiny DeepSeek-V3 whose experts can be sharded over four ranks."""
    directory = REPOSITORY / ".cluster/test-models/deepseek-v3-wide"
    return make_tiny("deepseek-v3", directory, moe_intermediate_size=64)


@pytest.fixture(scope="module", autouse=True)
def groups(cluster: Target) -> None:
    """Skip the tests on a cluster that may lack the LeaderWorkerSet API."""
    if cluster.kind != "embedded":
        pytest.skip(f"a {cluster.kind} cluster may lack LeaderWorkerSet; install it to try by hand")


def gang(name: str, wide: Path, pods: int = 2, **spec: Any) -> dict[str, Any]:
    source = {"hostPath": {"path": str(wide)}}
    parallelism = {"tensor": pods, **spec.pop("parallelism", {})}
    if pods > 1:
        spec["parallelism"] = parallelism
    noted = {"metadata": {"annotations": {"note": spec.pop("note", "old")}}}
    return resource(
        name,
        model={"id": "tiny-v3", "servedName": "tiny", "source": source},
        podTemplate=noted | ONE_THREAD,
        **spec,
    )


def status(kube: Kube, name: str) -> dict[str, Any]:
    found = kube.get("dsd", name) or {}
    return dict(found.get("status", {}))


def ready(kube: Kube, name: str) -> bool:
    return kube.condition(name).get("status") == "True"


def ask(kube: Kube, name: str) -> str:
    with service_address(kube.target, name, kube.namespace) as address:
        url = f"http://{address}/v1/chat/completions"
        answer = httpx.post(url, json={"model": "tiny", **QUESTION}, timeout=120, trust_env=False)
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"])


def answered(kube: Kube, name: str) -> str:
    """Wait until the Service routes to a serving pod, and return the model's answer."""

    def try_it() -> str:
        try:
            return ask(kube, name)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError):
            return ""

    return eventually(f"{name} responds", try_it)


def pods_of(kube: Kube, name: str, group: int = 0) -> dict[str, str]:
    """Return the UIDs of a replica's pods by name."""
    chosen = f"deepseek-operator.io/name={name},leaderworkerset.sigs.k8s.io/group-index={group}"
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kube.all("pod", chosen)}


def process_of(kube: Kube, pod: str) -> Path:
    """Return the /proc directory of a process of a pod."""
    marks = (f"HOSTNAME={pod}\0", f".{kube.namespace}\0")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_text(errors="replace")
        except OSError:
            continue
        if all(mark in environment for mark in marks):
            return process
    raise AssertionError(f"no process of pod {pod} is found")


def cut_off(kube: Kube, pod: str, other: str) -> None:
    """Drop a pod's packets to another pod, in the pod's network namespace, as a bad switch would."""
    found = kube.get("pod", other)
    assert found is not None
    enter = ("nsenter", f"--net={process_of(kube, pod)}/ns/net")
    rule = ("--append", "OUTPUT", "--destination", found["status"]["podIP"], "--jump", "DROP")
    subprocess.run([*enter, "iptables", "--wait", *rule], check=True)


def recovers(kube: Kube, name: str, before: dict[str, str], fails: Callable[[], None]) -> float:
    """Cause a failure; return the seconds until the replica serves on new pods."""
    started = time.monotonic()
    fails()

    def again() -> bool:
        now = pods_of(kube, name)
        return now.keys() == before.keys() and not (set(now.values()) & set(before.values()))

    eventually("all pods are replaced", again, RECOVERY)
    eventually("ready again", lambda: ready(kube, name), RECOVERY)
    return time.monotonic() - started


def replaced(kube: Kube, name: str, changed: dict[str, Any]) -> None:
    """Apply a resource with another note; wait until all pods have the note and serve."""
    note = changed["spec"]["podTemplate"]["metadata"]["annotations"]["note"]
    kube.apply(changed)

    def done() -> bool:
        pods = kube.all("pod", f"deepseek-operator.io/name={name}")
        notes = {pod["metadata"]["annotations"].get("note") for pod in pods}
        return notes == {note} and ready(kube, name)

    eventually(f"all pods have note {note} and serve", done, RECOVERY)


def cause(kube: Kube, name: str, group: int = 0) -> dict[str, Any]:
    items = status(kube, name).get("groups", [])
    return next((dict(item["cause"]) for item in items if item["index"] == group), {})


def test_several_pods_have_the_same_output_as_one_process(
    kube: Kube, product: Product, wide: Path
) -> None:
    kube.apply(gang("alone", wide, pods=1))
    eventually("ready", lambda: ready(kube, "alone"), START)
    expected = answered(kube, "alone")
    kube.run("delete", "dsd", "alone", "--wait=false")
    for pods, name in ((2, "two"), (4, "four")):
        kube.apply(gang(name, wide, pods))
        eventually("ready", lambda name=name: ready(kube, name), START)
        assert answered(kube, name) == expected
        assert len(pods_of(kube, name)) == pods
        assert status(kube, name)["resolved"]["accelerator"] == f"{pods} pods of CPU"
        # Only the leader accepts requests.
        slices = kube.all("endpointslices", f"kubernetes.io/service-name={name}")
        assert [
            endpoint["targetRef"]["name"] for item in slices for endpoint in item["endpoints"] or []
        ] == [f"{name}-gang-0"]
        kube.run("delete", "dsd", name, "--wait=false")


@pytest.mark.long
def test_a_replica_recovers_from_every_fault(
    kube: Kube, product: Product, wide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kube.apply(gang("gang", wide))
    eventually("ready", lambda: ready(kube, "gang"), START)

    def forgiven(restarts: int) -> None:
        """Apply another spec, which resets the counted failures and the backoff."""
        kube.apply(gang("gang", wide, parallelism={"maxRestarts": restarts}))
        eventually("ready", lambda: ready(kube, "gang"))
        answered(kube, "gang")

    leader, worker = "gang-gang-0", "gang-gang-0-1"
    took = {}

    took["worker killed"] = recovers(
        kube, "gang", pods_of(kube, "gang"), lambda: send(kube, worker, KILL)
    )
    first = cause(kube, "gang")
    assert first["pod"] == worker
    assert "rank 1 on node-1 has ended without an error message" in first["message"]
    forgiven(6)

    took["leader killed"] = recovers(
        kube, "gang", pods_of(kube, "gang"), lambda: send(kube, leader, KILL)
    )
    assert cause(kube, "gang")["pod"] == leader
    forgiven(7)

    took["rank frozen"] = recovers(
        kube, "gang", pods_of(kube, "gang"), lambda: send(kube, worker, STOP)
    )
    assert "has sent no heartbeat" in cause(kube, "gang")["message"]
    forgiven(8)

    took["cut off"] = recovers(
        kube, "gang", pods_of(kube, "gang"), lambda: cut_off(kube, worker, leader)
    )
    assert "has sent no heartbeat" in cause(kube, "gang")["message"]
    forgiven(9)

    took["pod deleted"] = recovers(
        kube,
        "gang",
        pods_of(kube, "gang"),
        lambda: kube.run("delete", "pod", worker, "--wait=false", "--grace-period=1") and None,
    )
    answered(kube, "gang")

    # A single replica is stopped first: LeaderWorkerSet creates no surge replica.
    started = time.monotonic()
    replaced(kube, "gang", gang("gang", wide, note="new"))
    took["replaced in place"] = time.monotonic() - started
    answered(kube, "gang")
    assert reasons(kube, "gang").count("ReplicaFailed") >= 3
    with capsys.disabled():
        print("\nseconds until a replica of two pods serves again:",
              json.dumps({what: round(seconds) for what, seconds in took.items()}))  # fmt: skip


@pytest.mark.long
def test_two_replicas_share_load_survive_a_stopped_one_and_roll_out_without_failures(
    kube: Kube, product: Product, wide: Path
) -> None:
    kube.apply(gang("gang", wide, replicas=2, parallelism={"maxRestarts": 0}))
    eventually("ready", lambda: ready(kube, "gang"), START)
    assert status(kube, "gang")["readyReplicas"] == 2
    assert len({answered(kube, "gang") for _ in range(12)}) == 1
    assert min(requests(kube, 0), requests(kube, 1)) > 0

    send(kube, "gang-gang-1-1", KILL)
    eventually(
        "the replica is stopped",
        lambda: kube.condition("gang").get("reason") == "ReplicaStopped",
        RECOVERY,
    )
    # A consequence may be reported first; its cause then replaces it in the message.
    eventually(
        "the first cause is reported",
        lambda: "pod gang-gang-1-1 ended" in kube.condition("gang").get("message", ""),
    )
    message = kube.condition("gang")["message"]
    assert "restarts only when the spec changes" in message
    # The pods of the stopped replica exist but don't start: no partial replica runs.
    eventually(
        "the stopped replica has two pods", lambda: len(pods_of(kube, "gang", 1)) == 2, RECOVERY
    )
    answered(kube, "gang")
    assert "Degraded: replica 1 was stopped; 1 of 2 replicas serve" in kube.run("get", "dsd")
    kube.apply(gang("gang", wide, replicas=2, parallelism={"maxRestarts": 1}))
    eventually("both serve again", lambda: ready(kube, "gang"), RECOVERY)

    # A rollout replaces both with a surge of one, and no request fails.
    with continuous_requests(kube, "gang") as outcomes:
        replaced(kube, "gang", gang("gang", wide, replicas=2, note="new"))
    assert set(outcomes) == {"200"}


@pytest.mark.long
def test_a_canary_of_several_pods_is_promoted_and_no_request_fails(
    kube: Kube, product: Product, wide: Path
) -> None:
    kube.apply(gang("gang", wide, rollout=CANARY))
    eventually("ready", lambda: ready(kube, "gang"), START)
    with continuous_requests(kube, "gang") as outcomes:
        kube.apply(gang("gang", wide, rollout=CANARY, note="new"))
        eventually("the comparison begins", lambda: "Comparing" in reasons(kube, "gang"), START)
        both = {
            pod["metadata"]["name"] for pod in kube.all("pod", "deepseek-operator.io/name=gang")
        }
        assert both == {
            f"gang-{place}{pod}" for place in ("gang", "green-gang") for pod in ("-0", "-0-1")
        }
        eventually(
            "only the candidate is left",
            lambda: (
                {
                    pod["metadata"]["annotations"].get("note")
                    for pod in kube.all("pod", "deepseek-operator.io/name=gang")
                }
                == {"new"}
            ),
            START,
        )
        eventually("ready", lambda: ready(kube, "gang"), START)
    assert set(outcomes) == {"200"}


def reasons(kube: Kube, name: str) -> list[str]:
    return [event["reason"] for event in kube.events(name)]


def requests(kube: Kube, group: int) -> float:
    """Return the number of requests that the leader of a replica has answered."""
    pod = kube.get("pod", f"gang-gang-{group}")
    assert pod is not None
    text = httpx.get(f"http://{pod['status']['podIP']}:8000/metrics", trust_env=False).text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("deepseek_server_request_success_total")
    )


def test_replicas_that_block_each_other_get_a_suggestion_that_helps(
    fake_nodes: None, kube: Kube, product: Product
) -> None:
    """Fifty replicas of four pods each, on five nodes with room for 32 pods each: forty replicas fit."""
    kube.apply(
        resource("many", parallelism={"tensor": 4}, replicas=50, podTemplate=on_fake("6500m"))
    )
    eventually("as many pods as fit", lambda: len(placed(kube)) == 160, 300)
    message = eventually(
        "ReplicasBlockEachOther is reported",
        lambda: (
            kube.condition("many").get("reason") == "ReplicasBlockEachOther"
            and kube.condition("many")["message"]
        ),
    )
    assert "Set replicas to" in str(message)
    # The suggestion is correct.
    number = int(str(message).partition("Set replicas to ")[2].partition(",")[0])
    kube.run("scale", "dsd", "many", f"--replicas={number}")
    eventually("all replicas are ready", lambda: ready(kube, "many"), 300)


@pytest.mark.long
def test_a_lost_node_recreates_its_whole_replica_and_no_other(
    fake_nodes: None, kube: Kube, product: Product
) -> None:
    """Fake nodes, on which no pod really runs; the test checks which pods are deleted and created."""
    kube.apply(resource("two", parallelism={"tensor": 2}, replicas=2, podTemplate=on_fake("100")))
    eventually("ready", lambda: ready(kube, "two"))
    before = [pods_of(kube, "two", group) for group in (0, 1)]
    (lost,) = {
        pod["spec"]["nodeName"]
        for pod in kube.all("pod")
        if pod["metadata"]["name"] == "two-gang-0-1"
    }
    others = {
        group
        for group in (0, 1)
        for pod in kube.all("pod")
        if pod["metadata"]["name"] in before[group] and pod["spec"]["nodeName"] == lost
    }
    kube.run("delete", "node", lost)

    def whole() -> bool:
        now = [pods_of(kube, "two", group) for group in (0, 1)]
        anew = all(
            now[group].keys() == before[group].keys()
            and not set(now[group].values()) & set(before[group].values())
            for group in others
        )
        return anew and lost not in {pod["spec"].get("nodeName") for pod in kube.all("pod")}

    eventually("the replica has new pods on other nodes", whole, 240)
    eventually("ready again", lambda: ready(kube, "two"))
    for group in {0, 1} - others:
        assert pods_of(kube, "two", group) == before[group], "the other replica was replaced"


def on_fake(cpu: str) -> dict[str, Any]:
    """Return a podTemplate for fake nodes with eight H100 each."""
    return {
        "spec": {
            "nodeSelector": {"type": "kwok", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
            "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
            "containers": [{"name": "server", "resources": {"requests": {"cpu": cpu}}}],
        }
    }


def placed(kube: Kube) -> list[str]:
    return [pod["metadata"]["name"] for pod in kube.all("pod") if pod["spec"].get("nodeName")]
