"""Parallelism of replicas: number of pods, refusals, and the pods' configuration."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.api.status import ResolvedModel
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.sizing.gpus import Gpus
from deepseek_operator.plan.sizing.parallelism import GROUPS, UNSUPPORTED_PARALLELISM, pods
from deepseek_operator.plan.sizing.refusals import DOES_NOT_FIT, UNEVEN_SPLIT
from deepseek_operator.plan.state.observed import NodeView, Observed
from deepseek_operator.plan.state.refusal import API_MISSING, Refusal
from deepseek_operator.plan.state.split import Split
from deepseek_operator.render.children import children
from deepseek_operator.render.workload import pod_spec
from tests.support.operator.resources import SETTINGS, node, resource

V3 = {"id": "deepseek-ai/DeepSeek-V3"}
H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}


def decided(
    nodes: tuple[NodeView, ...] = (),
    groups: bool = True,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> DesiredState | Refusal:
    served = frozenset({GROUPS}) if groups else frozenset()
    return decide(resource(status, **spec), SETTINGS, Observed(nodes=nodes, served=served))


def accepted(*args: Any, **spec: Any) -> DesiredState:
    decision = decided(*args, **spec)
    assert isinstance(decision, DesiredState), decision
    return decision


def refused(*args: Any, **spec: Any) -> Refusal:
    decision = decided(*args, **spec)
    assert isinstance(decision, Refusal), decision
    return decision


def h100(name: str, gpus: int) -> NodeView:
    return NodeView.of(node(name, gpus, **H100))


def test_v3_on_sixteen_h100_is_two_pods_of_eight() -> None:
    desired = accepted(model=V3, accelerator={"profile": "nvidia-h100"}, parallelism={"tensor": 16})
    assert (desired.pods, desired.gpus and desired.gpus.count) == (2, 8)
    assert desired.accelerator == "2 pods of 8 x nvidia-h100"
    assert desired.config["tensorParallel"] == 16
    assert desired.config["gang"]["pods"] == 2


def test_smaller_nodes_need_more_pods() -> None:
    spec = {"accelerator": {"profile": "nvidia-h100"}, "parallelism": {"tensor": 16}}
    desired = accepted((h100("a", 4), h100("b", 2)), model=V3, **spec)
    assert (desired.pods, desired.gpus and desired.gpus.count) == (4, 4)


def test_single_gpu_nodes_get_one_pod_each() -> None:
    desired = accepted((h100("a", 1), h100("b", 1)), parallelism={"tensor": 2},
                      accelerator={"profile": "nvidia-h100", "count": 2},
                      model={"id": "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"})  # fmt: skip
    assert (desired.pods, desired.gpus and desired.gpus.count) == (2, 1)


def test_refusal_without_parallelism_suggests_several_nodes() -> None:
    refusal = refused(model=V3, accelerator={"profile": "nvidia-h100"})
    assert refusal.reason == DOES_NOT_FIT
    assert "parallelism.tensor 16 on 2 nodes" in refusal.message


def test_refusal_names_the_requested_gpus() -> None:
    refusal = refused(
        model=V3, accelerator={"profile": "nvidia-a100-80gb"}, parallelism={"tensor": 16}
    )
    assert refusal.reason == DOES_NOT_FIT
    assert "does not fit on 16 x nvidia-a100-80gb" in refusal.message
    assert "parallelism.tensor 32 on 4 nodes" in refusal.message


def test_model_that_fits_on_one_node_has_one_pod() -> None:
    desired = accepted(
        groups=False, model={"id": "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"},
        accelerator={"profile": "nvidia-h100"}, parallelism={"tensor": 4},
    )  # fmt: skip
    assert desired.pods == 1
    assert "gang" not in desired.config


def test_each_process_on_the_cpu_has_a_pod() -> None:
    desired = accepted(parallelism={"tensor": 2}, model={"id": "deepseek-ai/DeepSeek-V2-Lite"})
    assert (desired.pods, desired.gpus, desired.accelerator) == (2, None, "2 pods of CPU")
    alone = accepted(model={"id": "deepseek-ai/DeepSeek-V2-Lite"})
    assert desired.needs.memory < alone.needs.memory


def test_running_replica_keeps_its_pods_as_nodes_change() -> None:
    spec = {
        "model": V3, "accelerator": {"profile": "nvidia-h100"}, "parallelism": {"tensor": 16}
    }  # fmt: skip
    resolved = {
        "servedName": "x", "source": "y", "accelerator": "z", "image": "i",
        "profile": "nvidia-h100", "tensorParallel": 16, "pods": 4,
    }  # fmt: skip
    kept = accepted((h100("a", 8),), status={"resolved": resolved}, **spec)
    assert kept.pods == 4
    # A node with two GPUs has no room for a pod with four.
    assert accepted((h100("a", 2),), status={"resolved": resolved}, **spec).pods == 8


def test_multi_pod_replicas_need_leader_worker_set() -> None:
    spec = {"accelerator": {"profile": "nvidia-h100"}, "parallelism": {"tensor": 16}}
    refusal = refused(groups=False, model=V3, **spec)
    assert refusal.reason == API_MISSING
    assert "LeaderWorkerSet" in refusal.message
    assert "kubectl apply" in refusal.message


@pytest.mark.parametrize("kind", ["pipeline", "expert", "data"])
def test_parallelism_without_support_is_refused(kind: str) -> None:
    spec = {"accelerator": {"profile": "nvidia-h100"}, "parallelism": {"tensor": 2, kind: 2}}
    refusal = refused(model=V3, **spec)
    assert refusal.reason == UNSUPPORTED_PARALLELISM
    assert f"no {kind} parallelism: set engine.type to " in refusal.message
    assert "parallelism.tensor" in refusal.message


def test_uneven_split_of_heads_is_refused() -> None:
    spec = {"accelerator": {"profile": "nvidia-h100"}, "parallelism": {"tensor": 12}}
    assert refused(model=V3, **spec).reason == UNEVEN_SPLIT


def test_pods_of_a_replica_differ_only_in_their_role() -> None:
    desired = accepted(
        model=V3, accelerator={"profile": "nvidia-h100"}, parallelism={"tensor": 16}, replicas=2
    )
    manifests = {manifest["kind"]: manifest for manifest in children(desired)}
    assert "Deployment" not in manifests
    group = manifests[GROUPS]["spec"]["leaderWorkerTemplate"]
    leader, worker = group["leaderTemplate"], group["workerTemplate"]
    assert leader["spec"] == worker["spec"]
    assert leader["metadata"]["labels"]["deepseek-operator.io/role"] == "leader"
    assert manifests["Service"]["spec"]["selector"].items() <= leader["metadata"]["labels"].items()
    assert not (
        manifests["Service"]["spec"]["selector"].items() <= worker["metadata"]["labels"].items()
    )
    assert manifests[GROUPS]["spec"]["replicas"] == 2
    assert json.loads(manifests["ConfigMap"]["data"]["config.json"])["gang"]["pods"] == 2
    # NCCL is not restricted to the loopback interface.
    assert not any("SOCKET_IFNAME" in str(env) for env in leader["spec"]["containers"][0]["env"])


def test_only_pods_of_the_model_reach_each_other_on_all_ports() -> None:
    desired = accepted(model=V3, accelerator={"profile": "nvidia-h100"}, parallelism={"tensor": 16})
    (policy,) = (item for item in children(desired) if item["kind"] == "NetworkPolicy")
    inside = {"podSelector": {"matchLabels": {"deepseek-operator.io/name": "r1"}}}
    open_to = [rule["from"] for rule in policy["spec"]["ingress"] if "ports" not in rule]
    assert open_to == [[inside]]


def test_exclusive_topology_is_set() -> None:
    parallelism = {"tensor": 16, "exclusiveTopology": "example.com/rack"}
    desired = accepted(model=V3, accelerator={"profile": "nvidia-h100"}, parallelism=parallelism)
    (groups,) = (item for item in children(desired) if item["kind"] == GROUPS)
    topology = groups["metadata"]["annotations"]["leaderworkerset.sigs.k8s.io/exclusive-topology"]
    assert topology == "example.com/rack"


def test_multi_pod_replicas_request_rdma_devices() -> None:
    kind = accelerators().profiles["nvidia-h100"].model_copy(update={"rdma": "rdma/hca"})
    desired = accepted(model=V3, accelerator={"profile": "nvidia-h100"}, parallelism={"tensor": 16})
    sizing = replace(desired.sizing, gpus=Gpus.of("nvidia-h100", kind, 8))
    (groups,) = (
        item for item in children(replace(desired, sizing=sizing)) if item["kind"] == GROUPS
    )
    (server,) = pod_spec(groups)["containers"]
    assert server["resources"]["limits"] == {"nvidia.com/gpu": 8, "rdma/hca": 1}
    assert server["securityContext"]["capabilities"]["add"] == ["IPC_LOCK"]


SIZES = st.sampled_from([1, 2, 3, 4, 6, 8, 16])


@given(
    split=st.builds(Split, tensor=SIZES, pipeline=SIZES, data=st.sampled_from([1, 2])),
    counts=st.lists(st.integers(min_value=0, max_value=16), max_size=4),
    before=st.none() | st.integers(min_value=1, max_value=64),
)
def test_pods_have_equal_sizes_that_fit_a_node(
    split: Split, counts: list[int], before: int | None
) -> None:
    nodes = [NodeView.of(node(str(number), gpus)) for number, gpus in enumerate(counts)]
    previous = before and ResolvedModel(
        served_name="x", source="y", accelerator="z", image="i", tensor_parallel=split.tensor,
        pods=before,
    )  # fmt: skip
    number = pods(split, Gpus("nvidia.com/gpu", split.tensor), 8, nodes, previous or None)
    assert split.gpus % number == 0
    each = split.gpus // number
    assert each <= max([count for count in counts if count], default=8)
    # The GPUs of a layer are on one node, or fill several.
    assert each % split.tensor == 0 or split.tensor % each == 0
