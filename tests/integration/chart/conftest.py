"""The chart as rendered by Helm, which may have to be built; no cluster is needed."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from hack.cluster.target import open_target
from tests.support.repository import ROOT

CHART = ROOT / "charts/deepseek-operator"
IMAGES = {
    "image.repository": "registry.test/deepseek-operator",
    "modelServer.image.repository": "registry.test/deepseek-server",
}

Helm = Callable[..., "subprocess.CompletedProcess[str]"]
Render = Callable[..., "Rendered"]


class Rendered:
    """The manifests of one rendering."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.manifests = [item for item in yaml.safe_load_all(text) if item]

    def one(self, kind: str, name: str = "deepseek-operator") -> dict[str, Any]:
        """Return the only manifest of this kind and name."""
        (found,) = (
            item
            for item in self.manifests
            if item["kind"] == kind and item["metadata"]["name"] == name
        )
        return found

    def kinds(self) -> set[str]:
        """Return the kinds of all manifests."""
        return {item["kind"] for item in self.manifests}

    @property
    def pod(self) -> dict[str, Any]:
        """The pod template of the Deployment."""
        return self.one("Deployment")["spec"]["template"]

    @property
    def container(self) -> dict[str, Any]:
        """The operator's container."""
        (container,) = self.pod["spec"]["containers"]
        return container

    @property
    def environment(self) -> dict[str, str]:
        """The container's variables."""
        return {
            entry["name"]: entry["value"] for entry in self.container["env"] if "value" in entry
        }


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Run Helm with values as YAML on standard input."""
    binary = open_target().helm

    def run(
        command: str, *arguments: str, values: Any = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [binary, command, *arguments, "--values", "-"],
            input=yaml.safe_dump(values or {}),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def template(helm: Helm) -> Helm:
    """Run `helm template` with the names of the images and further values."""

    def run(values: Any = None, **options: Any) -> "subprocess.CompletedProcess[str]":
        images = [item for pair in IMAGES.items() for item in ("--set", "=".join(pair))]
        arguments = [options.get("release", "deepseek-operator"), str(CHART)]
        arguments += ["--namespace", "deepseek-system", "--kube-version", "1.34"]
        return helm(
            "template", *arguments, *(images if options.get("images", True) else []), values=values
        )

    return run


@pytest.fixture(scope="session")
def render(template: Helm) -> Render:
    """Render the chart; a failure fails the test."""

    def run(values: Any = None, **options: Any) -> Rendered:
        result = template(values, **options)
        assert result.returncode == 0, result.stderr
        return Rendered(result.stdout)

    return run
