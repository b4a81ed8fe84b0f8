"""Error messages for invalid or unusable specs; other resources are not affected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e.product import Product
from tests.support.kube import Kube, eventually, modest, resource


def failure_message(kube: Kube, name: str, reason: str, timeout: float = 60.0) -> str:
    """Wait until Ready has the reason; check `describe` and the Event; return the message."""
    message = eventually(
        f"condition Ready of {name} has reason {reason}",
        lambda: kube.condition(name).get("reason") == reason and kube.condition(name)["message"],
        timeout,
    )
    assert isinstance(message, str)
    assert message in kube.run("describe", "dsd", name)
    event = eventually(
        f"an Event {reason}", lambda: [e for e in kube.events(name) if e["reason"] == reason]
    )
    assert event[0]["type"] == "Warning"
    return message


def from_directory(path: Path | str) -> dict[str, Any]:
    return {"id": "tiny", "source": {"hostPath": {"path": str(path)}}}


def test_more_gpus_than_any_node_has_are_reported(kube: Kube, product: Product) -> None:
    model = from_directory("/var/lib")  # of unknown size; a known model has no 99 equal shards
    kube.apply(resource("big", model=model, accelerator={"count": 99}))
    message = failure_message(kube, "big", "NoFittingNode", 20)
    assert "99 nvidia.com/gpu" in message
    assert "Set accelerator.count to" in message
    assert "No node has 99 x GPU" in kube.run("get", "dsd")


def test_an_unavailable_gpu_profile_is_reported(kube: Kube, product: Product) -> None:
    kube.apply(resource("t4", accelerator={"profile": "nvidia-t4"}))
    assert "nvidia.com/gpu.product=Tesla-T4" in failure_message(kube, "t4", "NoFittingNode", 20)


def test_a_missing_host_directory_is_reported(kube: Kube, product: Product) -> None:
    kube.apply(resource("lost", model=from_directory("/nowhere/to/be/found")))
    assert "/nowhere/to/be/found" in failure_message(kube, "lost", "MountFailed")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "config.json"), ("{", "config.json"), ('{"model_type": "toaster"}', "toaster")],
    ids=["no config.json", "not JSON", "not a model"],
)
def test_a_directory_without_a_usable_model_is_reported(
    kube: Kube, product: Product, tmp_path: Path, content: str | None, words: str
) -> None:
    tmp_path.chmod(0o755)
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    kube.apply(resource("odd", model=from_directory(tmp_path)))
    message = failure_message(kube, "odd", "ModelUnusable", 120)
    assert words in message
    assert "Traceback" not in message


def test_an_unknown_hub_repository_is_reported(kube: Kube, product: Product) -> None:
    model = {"id": "deepseek-ai/DeepSeek-V99", "source": {"huggingFace": {}}}
    kube.apply(resource("none", model=model))
    assert "deepseek-ai/DeepSeek-V99" in failure_message(kube, "none", "ModelUnusable", 120)


def test_a_misspelled_model_name_gets_a_suggestion(kube: Kube, product: Product) -> None:
    kube.apply(resource("slip", model={"id": "deepseek-ai/DeepSeek-V1.5"}))
    assert "Did you mean" in failure_message(kube, "slip", "UnknownModel", 20)


def test_an_unreachable_hub_is_reported(kube: Kube, product: Product) -> None:
    hub = {"huggingFace": {"endpoint": "http://hub.invalid:1"}}
    kube.apply(
        resource(
            "off", model={"id": "deepseek-ai/DeepSeek-V3", "source": hub}, podTemplate=modest()
        )
    )
    assert "hub.invalid" in failure_message(kube, "off", "SourceUnreachable", 120)


def test_a_missing_secret_is_reported(kube: Kube, product: Product) -> None:
    hub = {"huggingFace": {"tokenSecret": {"name": "absent"}}}
    kube.apply(
        resource(
            "key", model={"id": "deepseek-ai/DeepSeek-V3", "source": hub}, podTemplate=modest()
        )
    )
    assert 'secret "absent" not found' in failure_message(kube, "key", "ContainerRefused")


def test_a_missing_image_is_reported(kube: Kube, product: Product) -> None:
    image = f"{product.images.server.rpartition(':')[0]}:no-such-tag"
    kube.apply(resource("image", engine={"image": image}, podTemplate=modest()))
    assert "no-such-tag" in failure_message(kube, "image", "ImageUnavailable")


def test_an_unknown_server_argument_is_reported(kube: Kube, product: Product) -> None:
    kube.apply(resource("argument", engine={"args": ["--turbo"]}, podTemplate=modest()))
    assert "--turbo" in failure_message(kube, "argument", "ServerCrashed", 120)


def test_a_missing_volume_claim_is_reported(kube: Kube, product: Product) -> None:
    source = {"pvc": {"claimName": "absent"}}
    kube.apply(resource("claim", model={"id": "tiny", "source": source}))
    eventually("the scheduler's message", lambda: kube.condition("claim").get("message"))
    message = failure_message(kube, "claim", "WaitingForNode")
    assert 'persistentvolumeclaim "absent" not found' in message


def test_unknown_fields_are_rejected_by_the_api_server(kube: Kube, product: Product) -> None:
    assert 'unknown field "spec.replicsa"' in kube.refusal(resource("typo", replicsa=2))


def test_an_invalid_resource_does_not_affect_others(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    kube.apply(
        resource("bad", model={"id": "deepseek-ai/DeepSeek-V1.5"}),
        resource("good", model=from_directory(models["qwen2"])),
    )
    eventually("the good one is ready", lambda: kube.condition("good").get("status") == "True", 240)
    assert "Traceback" not in product.operator_log()
    assert json.dumps(kube.get("dsd", "bad")).count("UnknownModel") >= 1
