"""What a person gets to read for each mistake, within seconds, while everything else carries on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e.product import Product
from tests.support.kube import Kube, eventually, modest, resource


def message_of(kube: Kube, name: str, reason: str, timeout: float = 60.0) -> str:
    """The message of condition Ready once it has the reason; also in `describe` and an Event."""
    message = eventually(
        f"{name} says {reason}",
        lambda: kube.condition(name).get("reason") == reason and kube.condition(name)["message"],
        timeout,
    )
    assert isinstance(message, str)
    assert message in kube.run("describe", "dsd", name)
    event = eventually("an Event", lambda: [e for e in kube.events(name) if e["reason"] == reason])
    assert event[0]["type"] == "Warning"
    return message


def from_directory(path: Path | str) -> dict[str, Any]:
    return {"id": "tiny", "source": {"hostPath": {"path": str(path)}}}


def test_more_gpus_than_any_node_has(kube: Kube, product: Product) -> None:
    model = from_directory("/var/lib")  # of unknown size: else 99 would not divide its heads
    kube.apply(resource("big", model=model, accelerator={"count": 99}))
    message = message_of(kube, "big", "NoFittingNode", 20)
    assert "99 nvidia.com/gpu" in message
    assert "Set accelerator.count to" in message
    assert "No node has 99 x GPU" in kube.run("get", "dsd")


def test_a_profile_that_no_node_has(kube: Kube, product: Product) -> None:
    kube.apply(resource("t4", accelerator={"profile": "nvidia-t4"}))
    assert "nvidia.com/gpu.product=Tesla-T4" in message_of(kube, "t4", "NoFittingNode", 20)


def test_a_directory_that_does_not_exist(kube: Kube, product: Product) -> None:
    kube.apply(resource("lost", model=from_directory("/nowhere/to/be/found")))
    assert "/nowhere/to/be/found" in message_of(kube, "lost", "MountFailed")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "config.json"), ("{", "config.json"), ('{"model_type": "toaster"}', "toaster")],
    ids=["no config.json", "not JSON", "not a model"],
)
def test_a_directory_that_holds_no_model(
    kube: Kube, product: Product, tmp_path: Path, content: str | None, words: str
) -> None:
    tmp_path.chmod(0o755)
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    kube.apply(resource("odd", model=from_directory(tmp_path)))
    message = message_of(kube, "odd", "ModelUnusable", 120)
    assert words in message
    assert "Traceback" not in message


def test_a_repository_that_the_hub_does_not_know(kube: Kube, product: Product) -> None:
    model = {"id": "deepseek-ai/DeepSeek-V99", "source": {"huggingFace": {}}}
    kube.apply(resource("none", model=model))
    assert "deepseek-ai/DeepSeek-V99" in message_of(kube, "none", "ModelUnusable", 120)


def test_a_published_name_with_a_slip_of_the_pen(kube: Kube, product: Product) -> None:
    kube.apply(resource("slip", model={"id": "deepseek-ai/DeepSeek-V1.5"}))
    assert "Did you mean" in message_of(kube, "slip", "UnknownModel", 20)


def test_a_hub_that_does_not_answer(kube: Kube, product: Product) -> None:
    hub = {"huggingFace": {"endpoint": "http://hub.invalid:1"}}
    kube.apply(
        resource(
            "off", model={"id": "deepseek-ai/DeepSeek-V3", "source": hub}, podTemplate=modest()
        )
    )
    assert "hub.invalid" in message_of(kube, "off", "SourceUnreachable", 120)


def test_a_secret_that_is_missing(kube: Kube, product: Product) -> None:
    hub = {"huggingFace": {"tokenSecret": {"name": "absent"}}}
    kube.apply(
        resource(
            "key", model={"id": "deepseek-ai/DeepSeek-V3", "source": hub}, podTemplate=modest()
        )
    )
    assert 'secret "absent" not found' in message_of(kube, "key", "ContainerRefused")


def test_an_image_that_does_not_exist(kube: Kube, product: Product) -> None:
    image = f"{product.images.server.rpartition(':')[0]}:no-such-tag"
    kube.apply(resource("image", engine={"image": image}, podTemplate=modest()))
    assert "no-such-tag" in message_of(kube, "image", "ImageUnavailable")


def test_an_argument_that_the_server_does_not_know(kube: Kube, product: Product) -> None:
    kube.apply(resource("argument", engine={"args": ["--turbo"]}, podTemplate=modest()))
    assert "--turbo" in message_of(kube, "argument", "ServerCrashed", 120)


def test_a_claim_that_does_not_exist(kube: Kube, product: Product) -> None:
    source = {"pvc": {"claimName": "absent"}}
    kube.apply(resource("claim", model={"id": "tiny", "source": source}))
    message = eventually("the scheduler's words", lambda: kube.condition("claim").get("message"))
    message = message_of(kube, "claim", "WaitingForNode")
    assert 'persistentvolumeclaim "absent" not found' in message


def test_unknown_fields_are_refused_at_once(kube: Kube, product: Product) -> None:
    assert 'unknown field "spec.replicsa"' in kube.refusal(resource("typo", replicsa=2))


def test_nothing_of_that_disturbs_others(
    kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    kube.apply(
        resource("bad", model={"id": "deepseek-ai/DeepSeek-V1.5"}),
        resource("good", model=from_directory(models["qwen2"])),
    )
    eventually("ready", lambda: kube.condition("good").get("status") == "True", 240)
    assert "Traceback" not in product.operator_log()
    assert json.dumps(kube.get("dsd", "bad")).count("UnknownModel") >= 1
