"""What a pod asks of its node."""

from typing import Any

import pytest

from deepseek_operator.catalog.models import models
from deepseek_operator.plan.sizing.pod_resources import GIB, needs
from tests.unit.operator.render.test_children import made, pod_of, server_of

SMALL = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
V3 = "deepseek-ai/DeepSeek-V3"
TINY = {"id": "tiny", "source": {"hostPath": {"path": "/m"}}}


def requests(**spec: Any) -> dict[str, str]:
    asked: dict[str, str] = server_of(made(**spec))["resources"]["requests"]
    return asked


def volume(name: str, **spec: Any) -> dict[str, Any] | None:
    return next((item for item in pod_of(made(**spec))["volumes"] if item["name"] == name), None)


def test_no_pod_is_the_first_to_be_evicted() -> None:
    for spec in ({}, {"accelerator": {"count": 1}}, {"model": TINY}):
        assert {"cpu", "memory"} <= requests(**spec).keys()


def test_on_a_cpu_the_weights_are_in_memory_in_the_format_of_the_computation() -> None:
    size = models().get(SMALL)
    assert size is not None
    wide = needs(size, 0, 4, downloads=False).memory
    narrow = needs(size, 0, 2, downloads=False).memory
    assert wide - narrow == 2 * size.parameters
    assert wide == 4 * size.parameters + 2 * GIB
    asked = requests(model={"id": SMALL, "dtype": "bfloat16"})["memory"]
    assert asked == f"{-(-narrow // 2**20)}Mi"


def test_on_gpus_the_host_keeps_no_weights_and_every_gpu_has_a_process() -> None:
    one = requests(model={"id": V3}, accelerator={"count": 1})
    eight = requests(model={"id": V3}, accelerator={"count": 8})
    assert (one["cpu"], one["memory"]) == ("1000m", "3072Mi")
    # 1 GiB, 8 times 2 GiB, and what /dev/shm may take.
    assert (eight["cpu"], eight["memory"]) == ("8000m", f"{(1 + 16 + 8) * 1024}Mi")


def test_shared_memory_is_there_for_several_gpus_only_and_limited() -> None:
    assert volume("shm") is None
    assert volume("shm", accelerator={"count": 1}) is None
    several = {"accelerator": {"count": 4}}
    assert volume("shm", **several) == {
        "name": "shm",
        "emptyDir": {"medium": "Memory", "sizeLimit": "4096Mi"},
    }
    mounts = {
        item["mountPath"]: item["name"] for item in server_of(made(**several))["volumeMounts"]
    }
    assert mounts["/dev/shm"] == "shm"  # noqa: S108 - a path in a pod


def test_a_download_is_promised_its_room_on_the_node() -> None:
    asked = requests(model={"id": SMALL})
    # 3.55 GB and a quarter, and 4 GiB.
    assert asked["ephemeral-storage"] == "8333Mi"
    # The limit is far away, because whoever reaches it is evicted.
    assert volume("cache", model={"id": SMALL}) == {
        "name": "cache",
        "emptyDir": {"sizeLimit": "16666Mi"},
    }


@pytest.mark.parametrize(
    "model",
    [
        TINY,
        {"id": SMALL, "source": {"pvc": {"claimName": "models"}}},
        {"id": "someone/else", "source": {"huggingFace": {}}},
    ],
)
def test_without_a_download_of_known_size_nothing_is_promised(model: dict[str, Any]) -> None:
    assert "ephemeral-storage" not in requests(model=model)
    assert volume("cache", model=model) == {"name": "cache", "emptyDir": {}}


def test_a_volume_of_ones_own_for_downloads_is_not_the_nodes_disk() -> None:
    cache = {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}
    spec = {"model": {"id": SMALL}, "podTemplate": {"spec": {"volumes": [cache]}}}
    assert "ephemeral-storage" not in requests(**spec)
    assert volume("cache", **spec) == cache


def test_a_limit_of_ones_own_stands_for_the_request() -> None:
    """Kubernetes takes the limit for a request that is not there, and refuses a greater one."""
    limits = {"resources": {"limits": {"memory": "1Gi"}}}
    over = {"spec": {"containers": [{"name": "server", **limits}]}}
    assert "memory" not in requests(podTemplate=over)
    assert "cpu" in requests(podTemplate=over)
