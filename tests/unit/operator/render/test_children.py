"""Tests of the rendered children of a resource."""

import json
from typing import Any

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.rolling.rolling_update import IN_PLACE, SURGE
from deepseek_operator.plan.state.labels import MANIFEST_HASH, TEMPLATE_HASH
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.render.children import children
from deepseek_operator.render.workload import rolled
from tests.support.operator.resources import R1, SETTINGS, resource


def made(
    settings: Settings = SETTINGS, served: frozenset[str] = frozenset(), **spec: Any
) -> dict[str, dict[str, Any]]:
    decision = decide(resource(**spec), settings, Observed(served=served))
    assert isinstance(decision, DesiredState)
    return {manifest["kind"]: manifest for manifest in children(decision)}


def pod_of(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = manifests["Deployment"]["spec"]["template"]["spec"]
    return pod


def server_of(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (server,) = (c for c in pod_of(manifests)["containers"] if c["name"] == "server")
    return server  # type: ignore[no-any-return]


def config_of(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(manifests["ConfigMap"]["data"]["config.json"])
    return config


def test_the_children_of_a_minimal_resource_have_its_name() -> None:
    manifests = made()
    assert list(manifests) == [
        "ServiceAccount",
        "ConfigMap",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "Deployment",
    ]
    for manifest in manifests.values():
        assert manifest["metadata"]["name"] == "r1"
        assert manifest["metadata"]["ownerReferences"][0]["uid"] == "u-1"


def test_pods_pass_the_restricted_pod_security_standard() -> None:
    pod = pod_of(made())
    server = server_of(made())
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert server["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_service_selects_the_pods() -> None:
    manifests = made()
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selector = manifests["Service"]["spec"]["selector"]
    assert selector.items() <= labels.items()
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == selector


def test_weights_from_the_hub() -> None:
    config = config_of(made())
    assert config["model"]["source"] == {"huggingFace": {"endpoint": ""}}
    assert config["model"]["servedName"] == R1
    assert [volume["name"] for volume in pod_of(made())["volumes"]] == ["config", "tmp", "cache"]


def test_the_installations_hub_mirror_is_the_default_endpoint() -> None:
    mirror = Settings("image", hub_endpoint="http://mirror")
    assert config_of(made(mirror))["model"]["source"] == {
        "huggingFace": {"endpoint": "http://mirror"}
    }
    own = {"id": R1, "source": {"huggingFace": {"endpoint": "http://own"}}}
    assert config_of(made(mirror, model=own))["model"]["source"] == {
        "huggingFace": {"endpoint": "http://own"}
    }


def test_the_hub_token_comes_from_a_secret() -> None:
    model = {"id": R1, "source": {"huggingFace": {"tokenSecret": {"name": "hf", "key": "t"}}}}
    env = {item["name"]: item for item in server_of(made(model=model))["env"]}
    assert env["HF_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "hf", "key": "t"}}


def test_weights_on_a_host_path_are_mounted_read_only() -> None:
    model = {"id": "tiny", "source": {"hostPath": {"path": "/data/tiny"}}}
    manifests = made(model=model)
    assert pod_of(manifests)["volumes"][-1]["hostPath"] == {
        "path": "/data/tiny",
        "type": "Directory",
    }
    assert server_of(manifests)["volumeMounts"][-1] == {
        "name": "weights",
        "mountPath": "/models",
        "readOnly": True,
    }
    assert config_of(manifests)["model"]["source"] == {"path": "/models"}


def test_weights_may_be_in_a_directory_of_a_claim() -> None:
    model = {"id": "v3", "source": {"pvc": {"claimName": "models", "path": "v3/fp8"}}}
    manifests = made(model=model)
    claim = pod_of(manifests)["volumes"][-1]["persistentVolumeClaim"]
    assert claim == {"claimName": "models", "readOnly": True}
    assert config_of(manifests)["model"]["source"] == {"path": "/models/v3/fp8"}


def test_a_profile_sets_gpu_limits_node_affinity_and_device() -> None:
    manifests = made(accelerator={"profile": "nvidia-h200", "count": 8})
    assert server_of(manifests)["resources"]["limits"] == {"nvidia.com/gpu": 8}
    terms = pod_of(manifests)["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert {
        "key": "nvidia.com/gpu.product",
        "operator": "In",
        "values": ["NVIDIA-H200", "NVIDIA-H200-NVL"],
    } in [expression for term in terms for expression in term["matchExpressions"]]
    assert config_of(manifests)["device"] == "cuda"


def test_a_count_without_profile_accepts_any_gpu() -> None:
    assert "affinity" not in pod_of(made(accelerator={"count": 1}))


def test_without_accelerator_the_device_is_the_cpu() -> None:
    manifests = made()
    assert "limits" not in server_of(manifests)["resources"]
    assert config_of(manifests)["device"] == "cpu"


def test_pods_change_with_the_config_file() -> None:
    def annotation(**spec: Any) -> str:
        metadata = made(**spec)["Deployment"]["spec"]["template"]["metadata"]
        return str(metadata["annotations"]["deepseek-operator.io/config-hash"])

    assert annotation() == annotation(replicas=3)
    assert annotation() != annotation(model={"id": R1, "maxContext": 1024})


def test_pod_template_is_merged_by_name() -> None:
    template = {
        "metadata": {"labels": {"team": "search"}, "annotations": {"a": "b"}},
        "spec": {
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "containers": [
                {
                    "name": "server",
                    "env": [{"name": "X", "value": "1"}, {"name": "HOME", "value": "/h"}],
                },
                {"name": "sidecar", "image": "s"},
            ],
        },
    }
    manifests = made(podTemplate=template, accelerator={"count": 1})
    metadata = manifests["Deployment"]["spec"]["template"]["metadata"]
    assert metadata["labels"]["team"] == "search"
    assert metadata["labels"]["deepseek-operator.io/name"] == "r1"
    assert metadata["annotations"]["a"] == "b"
    pod = pod_of(manifests)
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert [item["key"] for item in pod["tolerations"]] == ["nvidia.com/gpu", "spot"]
    assert [item["name"] for item in pod["containers"]] == ["server", "sidecar"]
    env = {item["name"]: item.get("value") for item in server_of(manifests)["env"]}
    assert env == {
        "HOME": "/h",
        "HF_HOME": "/cache",
        "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0",
        "TRITON_CACHE_DIR": "/cache/triton",
        "X": "1",
    }
    assert server_of(manifests)["ports"][0]["containerPort"] == 8000


def test_the_processes_of_a_pod_communicate_over_loopback() -> None:
    def variables(count: int) -> dict[str, str]:
        env = server_of(made(accelerator={"count": count}))["env"]
        return {item["name"]: item["value"] for item in env if "IFNAME" in item["name"]}

    assert variables(1) == {}
    assert variables(2) == {"NCCL_SOCKET_IFNAME": "=lo", "GLOO_SOCKET_IFNAME": "lo"}


def test_replicas_prefer_different_nodes_and_zones_whatever_their_number() -> None:
    for replicas in (1, 3):
        constraints = pod_of(made(replicas=replicas))["topologySpreadConstraints"]
        assert [item["topologyKey"] for item in constraints] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        assert {item["whenUnsatisfiable"] for item in constraints} == {"ScheduleAnyway"}


def test_a_drain_evicts_one_replica_at_a_time_and_unready_pods_always() -> None:
    for replicas in (0, 1, 5):
        budget = made(replicas=replicas)["PodDisruptionBudget"]["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert budget["selector"]["matchLabels"] == {"deepseek-operator.io/name": "r1"}


def test_a_pod_monitor_is_created_if_its_kind_is_served_unless_disabled() -> None:
    there = frozenset({"PodMonitor"})
    assert "PodMonitor" not in made()
    assert "PodMonitor" in made(served=there)
    assert "PodMonitor" not in made(served=there, observability={"podMonitor": False})
    settings = Settings("image", pod_monitor_labels={"release": "prometheus"})
    monitor = made(settings, there)["PodMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["metadata"]["labels"]["deepseek-operator.io/name"] == "r1"
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "http", "path": "/metrics"}]
    ports = server_of(made())["ports"]
    assert [port["name"] for port in ports] == ["http"]


def test_a_step_of_a_rollout_changes_the_strategy_and_not_the_pod_template() -> None:
    plain = made()["Deployment"]
    surge, in_place = rolled(plain, SURGE), rolled(plain, IN_PLACE)
    assert surge["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert in_place["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    notes = [manifest["metadata"]["annotations"] for manifest in (surge, in_place)]
    assert notes[0][TEMPLATE_HASH] == notes[1][TEMPLATE_HASH]
    assert notes[0][MANIFEST_HASH] != notes[1][MANIFEST_HASH]
    assert surge["spec"]["template"] == in_place["spec"]["template"] == plain["spec"]["template"]
    assert rolled(rolled(plain, IN_PLACE), SURGE) == surge


def test_drain_seconds_extend_the_termination_grace_period() -> None:
    manifests = made(rollout={"drainSeconds": 600})
    assert config_of(manifests)["drainSeconds"] == 600
    assert pod_of(manifests)["terminationGracePeriodSeconds"] > 600
    assert config_of(made())["drainSeconds"] == 60
