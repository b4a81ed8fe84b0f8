"""From `kubectl apply` to the response of a model, with the status and Events on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import OpenAI

from hack.cluster.reach import service_address
from hack.models.families import PAGED
from tests.support.e2e.product import REPOSITORY, Product
from tests.support.kube import Kube, eventually, modest, resource

MESSAGES = [{"role": "user", "content": "What does an operator do?"}]
READY = 240.0


def ready(kube: Kube, name: str) -> bool:
    return kube.condition(name).get("status") == "True"


def test_the_minimal_resource_answers_the_openai_client(kube: Kube, product: Product) -> None:
    """The spec has only model.id; the weights come from the hub, here a fake one."""
    minimal = resource("r1", model={"id": REPOSITORY})
    assert list(minimal["spec"]) == ["model"]
    kube.apply(minimal)
    eventually("ready", lambda: ready(kube, "r1"), READY)
    with service_address(kube.target, "r1", kube.namespace) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="unused")
        assert [model.id for model in client.models.list()] == [REPOSITORY]
        whole = client.chat.completions.create(
            model=REPOSITORY, messages=MESSAGES, max_tokens=16, temperature=0
        )
        stream = client.chat.completions.create(
            model=REPOSITORY, messages=MESSAGES, max_tokens=16, temperature=0, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 16
    assert "".join(pieces) == whole.choices[0].message.content
    table = kube.run("get", "dsd", "r1")
    assert "Ready: 1 of 1 replicas serve" in table
    assert "True" in table

    def reasons() -> list[str]:
        return [event["reason"] for event in kube.events("r1")]

    eventually("the last Event is Ready", lambda: reasons()[-1] == "Ready")
    assert len(reasons()) == len(set(reasons())), "an Event was emitted twice"


def test_a_deepseek_v3_is_served_from_a_directory_of_the_node(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    source = {"hostPath": {"path": str(models["deepseek-v3"])}}
    kube.apply(resource("v3", model={"id": "tiny", "servedName": "v3", "source": source}))
    eventually("ready", lambda: ready(kube, "v3"), READY)
    with service_address(kube.target, "v3", kube.namespace) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="unused")
        answer = client.completions.create(model="v3", prompt="The operator", max_tokens=8)
    assert answer.choices[0].text
    described = kube.run("describe", "dsd", "v3")
    for words in ("All replicas are serving.", f"directory {models['deepseek-v3']} of the node"):
        assert words in described
    kube.run("wait", "--for=condition=Ready", "dsd/v3", "--timeout=5s")


@pytest.mark.parametrize("family", sorted(set(PAGED) - {"deepseek-v3"}))
def test_every_other_family_is_served(
    kube: Kube, product: Product, models: dict[str, Path], family: str
) -> None:
    source = {"hostPath": {"path": str(models[family])}}
    kube.apply(resource("model", model={"id": "tiny", "source": source}))
    eventually("ready", lambda: ready(kube, "model"), READY)
    with service_address(kube.target, "model", kube.namespace) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="unused")
        answers = {
            client.chat.completions.create(
                model="tiny", messages=MESSAGES, max_tokens=16, temperature=0
            )
            .choices[0]
            .message.content
            for _ in range(2)
        }
    assert len(answers) == 1
    kube.run("delete", "dsd", "model")


def test_weights_are_read_from_a_volume_claim(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    root = models["qwen2"].parent
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"weights-{kube.namespace}"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadOnlyMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "claimRef": {"namespace": kube.namespace, "name": "weights"},
                "hostPath": {"path": str(root)},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "weights"},
            "spec": {
                "accessModes": ["ReadOnlyMany"],
                "storageClassName": "",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    )
    source = {"pvc": {"claimName": "weights", "path": models["qwen2"].name}}
    kube.apply(resource("qwen", model={"id": "tiny", "source": source}))
    eventually("ready", lambda: ready(kube, "qwen"), READY)
    kube.run("delete", "dsd", "qwen")
    kube.run("delete", "pv", f"weights-{kube.namespace}", "--wait=false")


def test_pods_get_the_requested_gpus(kube: Kube, product: Product, models: dict[str, Path]) -> None:
    """The GPUs are only advertised, so the test checks the pod's placement and not its speed."""
    source = {"hostPath": {"path": str(models["qwen2"])}}
    model = {"id": "tiny", "source": source}
    two = {"profile": "nvidia-h200", "count": 2}
    kube.apply(resource("gpu", model=model, accelerator=two, podTemplate=modest()))
    scheduled = "Scheduled"
    eventually("scheduled", lambda: kube.condition("gpu", scheduled).get("status") == "True")
    (pod,) = kube.all("pod")
    node = kube.get("node", pod["spec"]["nodeName"])
    assert node is not None
    assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-H200"
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "2 x nvidia-h200" in kube.run("get", "dsd", "gpu")
