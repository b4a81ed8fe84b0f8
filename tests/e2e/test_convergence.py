"""Children converge to the spec after changes, deletions and a restart of the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from hack.cluster.reach import service_address
from tests.support.e2e.product import Product
from tests.support.kube import CHILDREN, Kube, eventually, resource


def tiny(models: dict[str, Path], **model: Any) -> dict[str, Any]:
    return {"id": "tiny", "source": {"hostPath": {"path": str(models["qwen2"])}}, **model}


def ready(kube: Kube, name: str = "tiny") -> bool:
    return kube.condition(name).get("status") == "True"


def served(kube: Kube) -> str:
    with service_address(kube.target, "tiny", kube.namespace) as address:
        answer = httpx.get(f"http://{address}/v1/models", timeout=10)
        return str(answer.raise_for_status().json()["data"][0]["id"])


def answers(kube: Kube, name: str) -> bool:
    """Return whether the Service routes to a pod that serves this model name.

    For a moment after the pod is ready, the Service refuses connections or routes to a deleted pod.
    """
    try:
        return served(kube) == name
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return False


def left(kube: Kube) -> list[str]:
    kinds = (*CHILDREN, "pod", "replicaset", "endpointslice")
    names = [(kind, item["metadata"]["name"]) for kind in kinds for item in kube.all(kind)]
    # Kubernetes creates these in every namespace.
    own = {("serviceaccount", "default"), ("configmap", "kube-root-ca.crt")}
    return [f"{kind}/{name}" for kind, name in names if (kind, name) not in own]


def test_a_resource_converges_through_its_whole_life(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    kube.apply(resource("tiny", model=tiny(models)))
    eventually("ready", lambda: ready(kube), 240)
    eventually("the Service responds", lambda: answers(kube, "tiny"))

    (before,) = kube.all("pod")
    kube.run("delete", "service", "tiny")
    kube.run("delete", "deployment", "tiny", "--wait=false")
    eventually("the Service is back", lambda: kube.get("service", "tiny"))
    eventually(
        "another pod is created",
        lambda: [
            pod for pod in kube.all("pod") if pod["metadata"]["uid"] != before["metadata"]["uid"]
        ],
    )
    eventually("ready again", lambda: ready(kube), 240)

    kube.run("set", "image", "deployment/tiny", "server=nonsense:1")
    eventually(
        "the image is restored",
        lambda: (
            (kube.get("deployment", "tiny") or {})["spec"]["template"]["spec"]["containers"][0][
                "image"
            ]
            == product.images.server
        ),
    )

    # Each of these requests succeeds, on the old pod or on the new one.
    eventually("the Service responds", lambda: answers(kube, "tiny"))
    kube.apply(resource("tiny", model=tiny(models, servedName="renamed")))
    eventually("the edit is served", lambda: served(kube) == "renamed", 240)
    eventually("the old pod is gone", lambda: served(kube) and len(kube.all("pod")) == 1)
    eventually("ready with the edit", lambda: served(kube) and ready(kube))

    kube.apply(resource("tiny", model=tiny(models, servedName="renamed"), replicas=0))
    eventually("stopped", lambda: ready(kube) and not kube.all("pod"))
    assert "Stopped: replicas is 0" in kube.run("get", "dsd")

    kube.run("delete", "dsd", "tiny")
    eventually("nothing is left", lambda: not left(kube))


def test_a_refused_spec_leaves_the_previous_one_serving(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    kube.apply(resource("tiny", model=tiny(models)))
    eventually("ready", lambda: ready(kube), 240)
    (before,) = kube.all("pod")
    kube.apply(resource("tiny", model={"id": "deepseek-ai/DeepSeek-V1.5"}))
    eventually("refused", lambda: kube.condition("tiny").get("reason") == "UnknownModel")
    eventually("the Service responds", lambda: answers(kube, "tiny"))
    (after,) = kube.all("pod")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_resources_converge_after_the_operator_is_killed(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    names = [f"model-{number}" for number in range(20)]
    stopped = [resource(name, model=tiny(models), replicas=0) for name in names]
    kube.apply(*stopped)
    eventually("some children", lambda: kube.all("deployment"))
    product.kill_operator()
    kube.apply(resource("late", model=tiny(models)))
    eventually("all ready", lambda: all(ready(kube, name) for name in names))
    eventually("the one applied meanwhile is ready", lambda: ready(kube, "late"), 240)
