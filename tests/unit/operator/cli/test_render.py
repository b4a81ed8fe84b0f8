"""Output of `deepseek render`: byte for byte what the reconcile loop applies first."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.cluster.kinds import NODE, OPTIONAL, RESOURCE, Kind
from deepseek_operator.controller.hub import Hub
from deepseek_operator.controller.reconciler import Reconciler
from deepseek_operator.plan.state.labels import MANIFEST_HASH
from deepseek_operator.plan.state.settings import Settings
from tests.support.operator.resources import TUNED as CONFIG
from tests.support.operator.resources import node
from tests.support.repository import ROOT
from tests.unit.operator.cli.command import deepseek
from tests.unit.operator.golden import EXAMPLES

Object = dict[str, Any]

FOLDER = ROOT / "examples"
ALL = [*EXAMPLES, *sorted(FOLDER.glob("*.yaml")), *sorted((FOLDER / "rollout").glob("*.yaml"))]
KINDS = [kind.called for kind in OPTIONAL]
IMAGE = "registry.example/deepseek-server:1"
UID = "3f2f6c1e-0000-4000-8000-000000000001"
SETTINGS = Settings(
    server_image=IMAGE, namespace="deepseek-system", monitoring_namespace="monitoring"
)


class Store:
    """An empty cluster that records the applied manifests."""

    def __init__(self) -> None:
        self.applied: list[Object] = []
        self.written_status: Object = {}

    async def get_cached(self, *_: Any) -> None:
        return None

    async def apply(self, kind: Kind, manifest: Object, subresource: str = "") -> Object:
        if subresource:
            self.written_status = manifest["status"]
        else:
            self.applied.append(manifest)
        metadata = {**manifest["metadata"], "resourceVersion": "2", "managedFields": []}
        metadata |= {"uid": metadata.get("uid", "u"), "generation": 1}
        return {"spec": {}, **manifest, "metadata": metadata}

    async def post_event(self, _: Object) -> None:
        pass


async def applied(
    body: Object, served: list[str], nodes: list[Object], store: Store | None = None
) -> list[Object]:
    cache, store = Cache(), store or Store()
    client: Any = store
    cache.served = frozenset(served)
    for kind in nodes:
        cache.put(
            NODE, {**kind, "metadata": {**kind["metadata"], "uid": "n", "resourceVersion": "1"}}
        )
    cache.put(RESOURCE, body)
    reconciler = Reconciler(client, cache, SETTINGS, lambda _: None, Hub())
    await reconciler.reconcile(Key("apps", body["metadata"]["name"]))
    return store.applied


def created(path: Path) -> Object:
    body = yaml.safe_load(path.read_text(encoding="utf-8"))
    body["metadata"] |= {"namespace": "apps", "uid": UID, "generation": 1, "resourceVersion": "1"}
    return {**body, "status": {}}


def rendered(path: Path, *options: object) -> list[Object]:
    result = deepseek(
        "render", path, "-n", "apps", "--uid", UID, "--server-image", IMAGE, "-o", "json", *options
    )
    assert result.code == 0, result.err
    items: list[Object] = json.loads(result.out)["items"]
    return items


def texts(manifests: list[Object]) -> dict[tuple[str, str], str]:
    return {
        (item["apiVersion"] + item["kind"], item["metadata"]["name"]): json.dumps(
            item, sort_keys=True
        )
        for item in manifests
    }


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
async def test_render_writes_what_the_operator_applies(path: Path) -> None:
    assert texts(rendered(path)) == texts(await applied(created(path), KINDS, []))


@pytest.mark.parametrize(
    "served", [[], ["PodMonitor", "HTTPRoute", "Gateway"]], ids=["none", "some"]
)
async def test_render_writes_what_the_operator_applies_without_optional_kinds(
    served: list[str],
) -> None:
    path = FOLDER / "routing" / "istio.yaml"
    option = ",".join(served) or "none"
    assert texts(rendered(path, "--served", option)) == texts(
        await applied(created(path), served, [])
    )


async def test_nodes_determine_the_gpu_type_and_the_pods(tmp_path: Path) -> None:
    path = FOLDER / "sizes" / "llm-67b.yaml"
    product = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    nodes = [node("a", 8, **product)]
    body = created(path)
    body["spec"]["accelerator"] = {"profiles": ["nvidia-h200", "nvidia-a100-80gb"]}
    resource, file = tmp_path / "resource.yaml", tmp_path / "nodes.yaml"
    resource.write_text(yaml.safe_dump(body))
    file.write_text(yaml.safe_dump({"kind": "List", "items": nodes}))
    with_nodes = rendered(resource, "--nodes", file)
    assert texts(with_nodes) == texts(await applied(body, KINDS, nodes))
    assert texts(with_nodes) != texts(rendered(resource))


def test_yaml_and_json_have_the_same_content() -> None:
    path = FOLDER / "gpu.yaml"
    result = deepseek("render", path, "-n", "apps", "--uid", UID, "--server-image", IMAGE)
    assert list(yaml.safe_load_all(result.out)) == rendered(path)


def test_without_a_uid_there_are_no_owner_references() -> None:
    result = deepseek("render", FOLDER / "gpu.yaml", "--server-image", IMAGE)
    manifests = list(yaml.safe_load_all(result.out))
    assert manifests
    assert not any("ownerReferences" in item["metadata"] for item in manifests)
    with_owner = texts(rendered(FOLDER / "gpu.yaml"))
    for item in manifests:
        name = (item["apiVersion"] + item["kind"], item["metadata"]["name"])
        signature = item["metadata"]["annotations"][MANIFEST_HASH]
        assert signature not in with_owner[name]


def test_a_refusal_has_the_operators_message(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    body = {
        "apiVersion": "deepseek-operator.io/v1alpha1",
        "kind": "DeepSeekDeployment",
        "metadata": {"name": "wrong"},
        "spec": {"model": {"id": "deepseek-ai/DeepSeek-V1.5"}},
    }
    file.write_text(yaml.safe_dump(body))
    result = deepseek("render", file)
    assert result.code == 1
    assert result.out == ""
    assert "UnknownModel: DeepSeek has not published deepseek-ai/DeepSeek-V1.5" in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no DeepSeekDeployment"),
        ("a: [", "is not YAML"),
        ("{kind: DeepSeekDeployment, apiVersion: v1}", "write deepseek-operator.io/v1alpha1"),
        ("{metadata: {name: A}, spec: {}}", "metadata.name must start with a letter"),
        ("{metadata: {name: a}}", "The only required field is spec.model.id"),
        (
            "{metadata: {name: a}, spec: {model: {id: x, size: 1}}}",
            "unknown field spec.model.size.",
        ),
    ],
    ids=["empty", "no YAML", "version", "name", "no spec", "unknown field"],
)
def test_an_invalid_file_is_rejected_with_a_correction(
    text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "file.yaml"
    if text.startswith("{metadata"):
        head = "{apiVersion: deepseek-operator.io/v1alpha1, kind: DeepSeekDeployment, "
        text = head + text[1:]
    file.write_text(text)
    result = deepseek("render", file)
    assert result.code == 2
    assert message in result.err


def test_a_missing_file_is_reported() -> None:
    result = deepseek("render", "nowhere.yaml")
    assert (result.code, result.err) == (
        2,
        "Error: nowhere.yaml can't be read: No such file or directory.\n",
    )


def test_chart_values_determine_the_settings(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        "modelServer: {image: {repository: r.example/server, digest: 'sha256:1', pullPolicy: Always}}\n"
        "hub: {endpoint: http://mirror}\nmonitoring: {namespace: watch}\n"
    )
    result = deepseek("render", FOLDER / "gpu.yaml", "--values", values)
    assert "image: r.example/server@sha256:1" in result.out
    assert "imagePullPolicy: Always" in result.out
    assert "http://mirror" in result.out
    assert "kubernetes.io/metadata.name: watch" in result.out


def test_an_unknown_optional_kind_is_rejected() -> None:
    result = deepseek("render", FOLDER / "gpu.yaml", "--served", "Podmonitor")
    assert result.code == 2
    assert "PodMonitor" in result.err


def test_model_config_determines_the_size_of_an_unlisted_model(tmp_path: Path) -> None:
    file, config = tmp_path / "r.yaml", tmp_path / "config.json"
    body = created(FOLDER / "gpu.yaml")
    body["spec"] = {"model": {"id": "acme/tuned"}, "accelerator": {"profile": "nvidia-l4"}}
    file.write_text(yaml.safe_dump(body))
    config.write_text(json.dumps(CONFIG))
    assert "nvidia.com/gpu: 1\n" in deepseek("render", file).out
    assert "nvidia.com/gpu: 4\n" in deepseek("render", file, "--model-config", config).out
