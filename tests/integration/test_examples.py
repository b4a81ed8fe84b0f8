"""Every example is accepted by the API server and by the operator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hack.cluster.target import Target
from tests.support import route_apis
from tests.support.foreign_kind import ForeignKind
from tests.support.kube import Kube, eventually
from tests.support.operator_process import OperatorProcess
from tests.support.repository import ROOT

# Other YAML files there are values for other projects' charts.
EXAMPLES = sorted(
    path
    for path in (ROOT / "examples").rglob("*.yaml")
    if "kind: DeepSeekDeployment" in path.read_text(encoding="utf-8")
)


NEEDED = (
    ForeignKind("LeaderWorkerSet", "leaderworkerset.x-k8s.io", "v1"),
    ForeignKind("LocalQueue", "kueue.x-k8s.io", "v1beta2"),
)


@pytest.fixture(scope="module", autouse=True)
def foreign_kinds(api_server: Target) -> Iterator[None]:
    """APIs that examples need and that not every cluster has."""
    for kind in NEEDED:
        kind.install(api_server)
    route_apis.install(api_server, *route_apis.ALL)
    yield
    for kind in NEEDED:
        kind.remove(api_server)
    route_apis.remove(api_server, *route_apis.ALL)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_accepted(kube: Kube, operator: OperatorProcess, path: Path) -> None:
    kube.run("apply", "--filename", str(path))
    example = yaml.safe_load(path.read_text())
    name = example["metadata"]["name"]
    reported = eventually("a verdict", lambda: kube.condition(name, "Accepted"))
    assert reported["status"] == "True", reported["message"]
    if "parallelism" in example["spec"]:
        eventually("its groups", lambda: kube.get("leaderworkersets", f"{name}-gang"))
    else:
        eventually("its Deployment", lambda: kube.get("deployment", name))
    if "routing" in example["spec"]:
        eventually("its endpoint", lambda: endpoint(kube, name).startswith("https://"))


def endpoint(kube: Kube, name: str) -> str:
    return str((kube.get("dsd", name) or {}).get("status", {}).get("endpoint", ""))


def test_the_readme_shows_the_minimal_example() -> None:
    """A reader may copy it."""
    example = yaml.safe_load((ROOT / "examples/minimal.yaml").read_text())
    blocks = (ROOT / "README.md").read_text().split("```")
    shown = [
        yaml.safe_load(block.removeprefix("yaml")) for block in blocks if block.startswith("yaml")
    ]
    assert example in shown
