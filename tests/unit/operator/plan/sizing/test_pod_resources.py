"""Resource requests of pods."""

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


def test_every_pod_has_requests() -> None:
    for spec in ({}, {"accelerator": {"count": 1}}, {"model": TINY}):
        assert {"cpu", "memory"} <= requests(**spec).keys()


def test_cpu_memory_includes_the_weights_in_their_data_type() -> None:
    size = models().get(SMALL)
    assert size is not None
    wide = needs(size, 0, 4, downloads=False).memory
    narrow = needs(size, 0, 2, downloads=False).memory
    assert wide - narrow == 2 * size.parameters
    assert wide == 4 * size.parameters + 2 * GIB
    asked = requests(model={"id": SMALL, "dtype": "bfloat16"})["memory"]
    assert asked == f"{-(-narrow // 2**20)}Mi"


def test_gpu_requests_count_processes_and_no_weights() -> None:
    one = requests(model={"id": V3}, accelerator={"count": 1})
    eight = requests(model={"id": V3}, accelerator={"count": 8})
    assert (one["cpu"], one["memory"]) == ("1000m", "3072Mi")
    # 1 GiB, 8 times 2 GiB, and the size limit of /dev/shm.
    assert (eight["cpu"], eight["memory"]) == ("8000m", f"{(1 + 16 + 8) * 1024}Mi")


def test_shared_memory_is_mounted_only_for_several_gpus() -> None:
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


def test_download_requests_ephemeral_storage() -> None:
    asked = requests(model={"id": SMALL})
    # 3.55 GB and a quarter, and 4 GiB.
    assert asked["ephemeral-storage"] == "8333Mi"
    # The limit is generous, because a pod that reaches it is evicted.
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
def test_no_storage_request_without_a_download_of_known_size(model: dict[str, Any]) -> None:
    assert "ephemeral-storage" not in requests(model=model)
    assert volume("cache", model=model) == {"name": "cache", "emptyDir": {}}


def test_own_cache_volume_needs_no_ephemeral_storage() -> None:
    cache = {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}
    spec = {"model": {"id": SMALL}, "podTemplate": {"spec": {"volumes": [cache]}}}
    assert "ephemeral-storage" not in requests(**spec)
    assert volume("cache", **spec) == cache


def test_own_limit_replaces_the_request() -> None:
    """Kubernetes uses the limit as a missing request, and refuses a request above the limit."""
    limits = {"resources": {"limits": {"memory": "1Gi"}}}
    over = {"spec": {"containers": [{"name": "server", **limits}]}}
    assert "memory" not in requests(podTemplate=over)
    assert "cpu" in requests(podTemplate=over)
