"""Launch plans and refusals on one machine."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.api.schema import structural
from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog import entries
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.local.commands import config_text
from deepseek_operator.local.host import Gpu, Host, unlisted
from deepseek_operator.local.launch_plan import Proposal, arrange
from deepseek_operator.local.local_overrides import MEANINGLESS, Overrides
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_server.config import validate
from tests.support.operator.resources import SETTINGS, resource

SMALL = {"id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"}
SEVEN = {"id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"}
HERE = {"id": "mine", "source": {"hostPath": {"path": "/models/mine"}}}
LARGE = 10**12


def gpus(
    count: int, name: str = "NVIDIA L4", memory: int = 23_034, used: int = 0
) -> tuple[Gpu, ...]:
    return tuple(Gpu(f"GPU-{name[-2:]}-{n}", name, memory, used, "8.9") for n in range(count))


def machine(*found: Gpu, memory: int = LARGE, disk: int = LARGE, cores: int = 8) -> Host:
    return Host(memory, cores, disk, found)


def arranged(
    on: Host, overrides: Overrides | None = None, downloaded: int = 0, **spec: Any
) -> Proposal:
    found = arrange(resource(**spec), SETTINGS, on, overrides or Overrides(), None, downloaded)
    assert isinstance(found, Proposal), found
    return found


def refused(
    on: Host, overrides: Overrides | None = None, downloaded: int = 0, **spec: Any
) -> Refusal:
    found = arrange(resource(**spec), SETTINGS, on, overrides or Overrides(), None, downloaded)
    assert isinstance(found, Refusal), found
    return found


def test_without_gpus_the_model_runs_on_the_cpu() -> None:
    found = arranged(machine(), model=SMALL, accelerator={"profile": "nvidia-h200", "count": 8})
    assert found.launch_plan.runs_on == "CPU"
    assert found.launch_plan.config["device"] == "cpu"
    assert found.launch_plan.replicas[0].gpus == ()
    assert found.notes == (
        "The model runs on the CPU (this machine has no NVIDIA GPU) although the resource "
        "requests GPUs.",
    )
    assert arranged(machine(), model=SMALL).notes == ()


def test_replicas_get_the_fewest_gpus_and_share_none() -> None:
    found = arranged(machine(*gpus(4)), model=SEVEN, replicas=2).launch_plan
    assert found.runs_on == "1 x nvidia-l4"
    assert [replica.gpus for replica in found.replicas] == [("GPU-L4-0",), ("GPU-L4-1",)]
    both = arranged(
        machine(*gpus(4)), model=SEVEN, replicas=2, accelerator={"profile": "nvidia-l4", "count": 2}
    ).launch_plan
    assert [len(replica.gpus) for replica in both.replicas] == [2, 2]
    assert len({uuid for replica in both.replicas for uuid in replica.gpus}) == 4
    assert both.config["tensorParallel"] == 2
    assert both.env["NCCL_SOCKET_IFNAME"] == "=lo"


def test_other_gpus_replace_the_requested_ones() -> None:
    found = arranged(
        machine(*gpus(1)), model=SMALL, accelerator={"profile": "nvidia-h200", "count": 8}
    )
    assert found.launch_plan.runs_on == "1 x nvidia-l4"
    assert found.notes == (
        "The resource requests nvidia-h200; using nvidia-l4 instead.",
        "accelerator.count 8 is for another GPU type: using as few GPUs as the model needs.",
    )


def test_a_gpu_count_without_a_type() -> None:
    found = arranged(machine(*gpus(2)), model=SMALL, accelerator={"count": 2})
    assert found.launch_plan.runs_on == "2 x nvidia-l4"
    assert (found.ignored, found.notes) == ({}, ())
    few = refused(machine(*gpus(1)), model=SMALL, accelerator={"count": 2})
    assert few.message.startswith(
        "1 replica of 2 x nvidia-l4 needs 2 GPUs, but this machine has only 1"
    )


def test_busy_gpus_are_skipped() -> None:
    found = arranged(machine(*gpus(1, used=20_000), *gpus(1, "NVIDIA L40S", 46_068)), model=SMALL)
    assert found.launch_plan.runs_on == "1 x nvidia-l40s"
    assert found.notes == ("Skipping 1 of 2 GPUs: other processes use them.",)
    busy = arranged(machine(*gpus(2, used=20_000)), model=SMALL)
    assert busy.notes == (
        "The model runs on the CPU (other processes use all 2 GPUs of this machine).",
    )


def test_a_gpu_that_is_not_in_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpus(1, "NVIDIA GeForce RTX 9999", 24_000)
    monkeypatch.setattr(entries, "_own", entries.own())
    accelerators.cache_clear()
    entries.take({"accelerators": unlisted(found)}, "here")
    accelerators.cache_clear()
    try:
        assert arranged(machine(*found), model=SEVEN).launch_plan.runs_on == (
            "1 x nvidia-geforce-rtx-9999"
        )
        assert (
            "does not fit on"
            in refused(machine(*found), model={"id": "deepseek-ai/DeepSeek-V3"}).message
        )
    finally:
        monkeypatch.undo()
        accelerators.cache_clear()


def test_too_few_gpus_are_refused_with_what_would_fit() -> None:
    found = refused(machine(*gpus(2)), model=SEVEN, replicas=3)
    assert found.reason == "DoesNotFit"
    assert found.message == (
        "3 replicas of 1 x nvidia-l4 need 3 GPUs, but this machine has only 2 free. "
        "What would fit: 2 replicas (--replicas 2), or the CPU (--device cpu)."
    )


def test_a_model_too_large_for_the_gpus_is_refused_as_in_a_cluster() -> None:
    found = refused(machine(*gpus(1)), model={"id": "deepseek-ai/DeepSeek-V3"})
    assert found.message.startswith(
        "deepseek-ai/DeepSeek-V3 does not fit on 8 x nvidia-l4. Each GPU"
    )
    assert found.message.endswith("Or run on the CPU (--device cpu).")


def test_too_little_memory_is_refused_with_figures() -> None:
    found = refused(machine(memory=12 * 10**9), model=SMALL, replicas=2)
    assert found.message == (
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B does not fit into the memory of this machine. "
        "Each of 2 replicas needs 9.3 GB (7.1 GB for the weights in float32, 2.1 GB for the server "
        "and the KV cache), 18.5 GB in total, but only 12.0 GB are available. What would fit: "
        "1 replica (--replicas 1), or model.dtype bfloat16, or a smaller model."
    )


@given(memory=st.integers(0, 10**11), replicas=st.integers(1, 50))
def test_the_suggested_number_of_replicas_fits(memory: int, replicas: int) -> None:
    on = machine(memory=memory)
    found = arrange(resource(model=SMALL, replicas=replicas), SETTINGS, on, Overrides())
    if isinstance(found, Refusal) and "--replicas" in found.message:
        fitting = int(found.message.partition("--replicas ")[2].partition(")")[0])
        assert fitting < replicas
        assert isinstance(
            arrange(resource(model=SMALL, replicas=fitting), SETTINGS, on, Overrides()), Proposal
        )


def test_the_disk_check_counts_downloaded_files() -> None:
    found = refused(machine(disk=3 * 10**9), downloaded=10**8, model=SMALL)
    assert found.message.startswith(
        "The weights of deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B take 3.6 GB, 0.1 GB of which are "
        "downloaded, but the disk has only 3.0 GB free"
    )
    arranged(machine(disk=3 * 10**9), downloaded=3 * 10**9, model=SMALL)
    arranged(machine(disk=0), downloaded=4 * 10**9, model=SMALL)


def test_ignored_fields_are_reported() -> None:
    found = arranged(
        machine(),
        model={**SMALL, "source": {"huggingFace": {"tokenSecret": {"name": "hf"}}}},
        routing={"hosts": ["r1.example.com"]},
        security={"mtls": "STRICT", "apiKeys": {"secretName": "keys"}},
        podTemplate={"spec": {"nodeSelector": {"a": "b"}}},
        rollout={"drainSeconds": 7, "strategy": "canary"},
        observability={"podMonitor": True},
        scaling={"maxReplicas": 9, "minReplicas": 3},
        engine={"image": "mine:1", "args": ["--request-timeout-seconds", "9"]},
    )
    assert set(found.ignored) == {
        "engine.image",
        "model.source.huggingFace.tokenSecret",
        "observability",
        "podTemplate",
        "rollout.strategy",
        "routing",
        "scaling",
        "security.apiKeys",
        "security.mtls",
    }
    assert len(found.launch_plan.replicas) == 1
    assert found.launch_plan.drain_seconds == 7
    assert found.launch_plan.args == ("--request-timeout-seconds", "9")


def test_ignored_fields_exist_in_the_schema() -> None:
    for path, _, _ in MEANINGLESS:
        part = structural(Spec)
        for name in path.split("."):
            assert name in part["properties"], path
            part = part["properties"][name]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": {"id": "deepseek-ai/DeepSeek-V1.5"}}, "DeepSeek has not published"),
        ({"model": SMALL, "podTemplate": {"spec": {"hostNetwork": True}}}, "podTemplate"),
        (
            {"model": SMALL, "engine": {"type": "vllm"}, "accelerator": {"count": 1}},
            "engine.type vllm is only supported in a cluster",
        ),
        ({"model": SMALL, "replicas": 0}, "Start one replica with --replicas 1"),
        ({"model": {"id": "x", "source": {"pvc": {"claimName": "c"}}}}, "--weights DIR"),
        ({"model": {**SMALL, "maxContext": 10**7}}, "exceeds the context length"),
        ({"model": {"id": 7}}, "spec.model.id"),
    ],
)
def test_refusals(spec: dict[str, Any], message: str) -> None:
    assert message in refused(machine(), **spec).message


def test_the_command_line_overrides_the_resource() -> None:
    overrides = Overrides("cpu", 3, Path("/weights"), Path("/keys.json"))
    model = {"id": "x", "source": {"pvc": {"claimName": "c"}}}
    found = arranged(machine(*gpus(8)), overrides, model=model, replicas=0).launch_plan
    assert len(found.replicas) == 3
    assert found.runs_on == "CPU"
    assert found.source == "directory /weights"
    assert found.config["model"]["source"] == {"path": "/weights"}
    assert found.config["apiKeysFile"] == "/keys.json"
    assert found.threads == 2  # of 8 cores


def test_config_json_determines_the_size_of_a_directory() -> None:
    config = {
        "model_type": "llama", "hidden_size": 8192, "num_hidden_layers": 80, "vocab_size": 128256,
        "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672,
        "max_position_embeddings": 131072,
    }  # fmt: skip
    found = arrange(resource(model=HERE), SETTINGS, machine(memory=10**11), Overrides(), config)
    assert isinstance(found, Refusal)
    assert "mine does not fit into the memory of this machine" in found.message
    unknown = arranged(machine(memory=10**11), model=HERE)
    assert unknown.notes == (
        "Did not check whether the model fits: the operator does not read weights on a volume.",
    )


@pytest.mark.parametrize("tensor", [None, 2])
@pytest.mark.parametrize("engine", ["", "docker"])
@pytest.mark.parametrize("on", [machine(), machine(*gpus(2))])
@pytest.mark.parametrize("model", [SMALL, HERE])
def test_the_config_is_valid_for_the_server(
    model: dict[str, Any], on: Host, engine: str, tensor: int | None
) -> None:
    asked = {"parallelism": {"tensor": tensor}} if tensor else {}
    found = arranged(on, Overrides(engine=engine), model=model, **asked).launch_plan
    config = validate(json.loads(config_text(found, 4242)), "config.json")
    assert config.tensor_parallel == (tensor or 1)
    assert config.gang is None
    assert config.listen.host == ("0.0.0.0" if engine else "127.0.0.1")
    assert config.listen.port == (8000 if engine else 4242)
    assert config.device == ("cuda" if on.gpus else "cpu")
