"""An installation's own catalogue entries reach the operator in a form that it can read."""

from pathlib import Path

import pytest
import yaml

from deepseek_operator.catalog import entries
from deepseek_operator.catalog.accelerators import Profile

OWN = {
    "accelerators": {
        "nvidia-gb200": {
            "memoryMiB": 189471,
            "capability": "10.0",
            "labels": {"nvidia.com/gpu.product": ["NVIDIA-GB200"]},
        }
    },
    "models": {"acme/r1-tuned": {"config": {"model_type": "llama"}}},
}


def test_entries_are_mounted_and_a_change_restarts_the_operator(render) -> None:
    rendered = render({"catalog": OWN})
    config_map = rendered.one("ConfigMap", "deepseek-operator-catalog")
    assert yaml.safe_load(config_map["data"]["catalog.yaml"]) == OWN
    (volume,) = rendered.pod["spec"]["volumes"]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    (mount,) = rendered.container["volumeMounts"]
    path = Path(rendered.environment["DSO_CATALOG"])
    assert (str(path.parent), path.name) == (mount["mountPath"], "catalog.yaml")
    mark = "deepseek-operator.io/catalog"
    other = render({"catalog": {"models": OWN["models"]}, "podAnnotations": {"a": "b"}})
    annotations = rendered.pod["metadata"]["annotations"], other.pod["metadata"]["annotations"]
    assert annotations[0][mark] != annotations[1][mark]
    assert annotations[1]["a"] == "b"


def test_large_numbers_are_rendered_unchanged(render) -> None:
    text = render({"catalog": OWN}).one("ConfigMap", "deepseek-operator-catalog")["data"][
        "catalog.yaml"
    ]
    found = entries.entries("accelerators", Profile, yaml.safe_load(text)["accelerators"])
    assert found["nvidia-gb200"].memory_mib == 189471


def test_nothing_is_mounted_without_entries(render) -> None:
    rendered = render()
    assert "ConfigMap" not in rendered.kinds()
    assert "volumes" not in rendered.pod["spec"]


@pytest.mark.parametrize(
    ("catalog", "words"),
    [
        ({"gpus": {}}, "gpus"),
        ({"accelerators": {"nvidia-x": {"labels": {}}}}, "memoryMiB"),
        ({"models": {"acme/x": {}}}, "config"),
        ({"models": {"x": {"config": {}}}}, "propertyName 'x'"),
    ],
)
def test_the_schema_names_the_invalid_field(template, catalog, words) -> None:
    result = template({"catalog": catalog})
    assert result.returncode != 0
    assert words in result.stderr.replace("/", ".")
