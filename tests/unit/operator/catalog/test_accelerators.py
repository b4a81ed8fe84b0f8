"""GPU profiles of the catalogue: recognised by node labels, and listed in the docs."""

from collections import Counter

import pytest
import yaml

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.plan.state.observed import NodeView
from tests.support.operator.resources import node
from tests.support.repository import ROOT

PROFILES = accelerators().profiles
SHAPES = yaml.safe_load((ROOT / "hack/cluster/components/nodes.yaml").read_text())


def test_label_identifies_one_profile() -> None:
    marks = Counter(
        (kind.resource, label, value)
        for kind in PROFILES.values()
        for label, values in kind.labels.items()
        for value in values
    )
    assert [mark for mark, times in marks.items() if times > 1] == []


@pytest.mark.parametrize("shape", SHAPES["fake"], ids=lambda shape: shape["name"])
def test_cloud_node_labels_are_recognised(shape: dict[str, dict[str, str]]) -> None:
    name = accelerators().of_node(shape["labels"])
    assert name is not None
    assert name.startswith(f"nvidia-{shape['name']}")
    assert PROFILES[name].memory_mib == int(shape["labels"]["nvidia.com/gpu.memory"])


def test_slices_match_their_whole_gpu() -> None:
    slices = {name: kind for name, kind in PROFILES.items() if "-mig-" in name}
    assert len(slices) == 12
    for name, kind in slices.items():
        whole = PROFILES[name.partition("-mig-")[0]]
        assert kind.together == 1
        assert kind.resource == f"nvidia.com/mig-{name.partition('-mig-')[2]}"
        assert (kind.capability, kind.labels) == (whole.capability, whole.labels)
        assert kind.tflops.keys() == whole.tflops.keys()
        assert kind.memory < whole.memory / 2


def test_bfloat16_and_fp8_match_the_compute_capability() -> None:
    for name, kind in PROFILES.items():
        if kind.capability:
            major, minor = map(int, kind.capability.split("."))
            assert ("bfloat16" in kind.tflops) == (major >= 8), name
            assert ("fp8" in kind.tflops) == ((major, minor) >= (8, 9)), name


def test_node_view_has_all_resources() -> None:
    body = node("a", 4)
    body["status"]["allocatable"] |= {"nvidia.com/mig-3g.40gb": "2", "amd.com/gpu": "8"}
    seen = NodeView.of(body).allocatable
    names = ("nvidia.com/gpu", "nvidia.com/mig-3g.40gb", "amd.com/gpu")
    assert [seen[name] for name in names] == ["4", "2", "8"]


def test_docs_list_every_profile_with_its_memory() -> None:
    table = (ROOT / "docs/sizing.md").read_text().partition("## Kinds of GPU")[2]
    for name, kind in PROFILES.items():
        base, mig, slice_name = name.partition("-mig-")
        line = next(line for line in table.splitlines() if line.startswith(f"| `{base}{mig}"))
        assert f"{kind.memory_mib:,}" in line, name
        assert f"`{slice_name or name}`" in line, name
