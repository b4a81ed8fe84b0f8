"""Whatever happens to children, resource or operator: it ends as the spec says."""

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
    """Whether the Service has got to know the pod, which is a moment after the pod is ready.

    Until then it refuses, or leads to the pod that was there before, where nothing answers.
    """
    try:
        return served(kube) == name
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return False


def left(kube: Kube) -> list[str]:
    kinds = (*CHILDREN, "pod", "replicaset", "endpointslice")
    names = [(kind, item["metadata"]["name"]) for kind in kinds for item in kube.all(kind)]
    # What Kubernetes itself puts into every namespace.
    own = {("serviceaccount", "default"), ("configmap", "kube-root-ca.crt")}
    return [f"{kind}/{name}" for kind, name in names if (kind, name) not in own]


def test_the_life_of_a_resource(kube: Kube, product: Product, models: dict[str, Path]) -> None:
    kube.apply(resource("tiny", model=tiny(models)))
    eventually("ready", lambda: ready(kube), 240)
    eventually("an answer", lambda: answers(kube, "tiny"))

    (before,) = kube.all("pod")
    kube.run("delete", "service", "tiny")
    kube.run("delete", "deployment", "tiny", "--wait=false")
    eventually("the Service is back", lambda: kube.get("service", "tiny"))
    eventually(
        "another pod",
        lambda: [
            pod for pod in kube.all("pod") if pod["metadata"]["uid"] != before["metadata"]["uid"]
        ],
    )
    eventually("ready again", lambda: ready(kube), 240)

    kube.run("set", "image", "deployment/tiny", "server=nonsense:1")
    eventually(
        "the image is put right",
        lambda: (
            (kube.get("deployment", "tiny") or {})["spec"]["template"]["spec"]["containers"][0][
                "image"
            ]
            == product.images.server
        ),
    )

    # Every one of these requests is answered, by the old pod or by the new one.
    eventually("an answer", lambda: answers(kube, "tiny"))
    kube.apply(resource("tiny", model=tiny(models, servedName="renamed")))
    eventually("the edit is served", lambda: served(kube) == "renamed", 240)
    eventually("the old pod is gone", lambda: served(kube) and len(kube.all("pod")) == 1)
    eventually("ready with the edit", lambda: served(kube) and ready(kube))

    kube.apply(resource("tiny", model=tiny(models, servedName="renamed"), replicas=0))
    eventually("stopped", lambda: ready(kube) and not kube.all("pod"))
    assert "Stopped: replicas is 0" in kube.run("get", "dsd")

    kube.run("delete", "dsd", "tiny")
    eventually("nothing is left", lambda: not left(kube))


def test_a_spec_that_is_refused_leaves_the_old_one_serving(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    kube.apply(resource("tiny", model=tiny(models)))
    eventually("ready", lambda: ready(kube), 240)
    (before,) = kube.all("pod")
    kube.apply(resource("tiny", model={"id": "deepseek-ai/DeepSeek-V1.5"}))
    eventually("refused", lambda: kube.condition("tiny").get("reason") == "UnknownModel")
    eventually("an answer", lambda: answers(kube, "tiny"))
    (after,) = kube.all("pod")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_the_operator_dies_in_the_middle(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    names = [f"model-{number}" for number in range(20)]
    stopped = [resource(name, model=tiny(models), replicas=0) for name in names]
    kube.apply(*stopped)
    eventually("some children", lambda: kube.all("deployment"))
    product.kill_operator()
    kube.apply(resource("late", model=tiny(models)))
    eventually("all ready", lambda: all(ready(kube, name) for name in names))
    eventually("the one applied meanwhile, too", lambda: ready(kube, "late"), 240)
