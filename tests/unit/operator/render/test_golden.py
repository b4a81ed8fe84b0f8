"""Tests of the rendered examples against reviewed golden files."""

from pathlib import Path

import pytest
import yaml

from deepseek_operator.render.workload import is_workload, pod_spec
from tests.unit.operator.golden import EXAMPLES, golden_file, rendered

# Expected GPUs per pod, decided by hand.
EXPECTED = {
    "api-keys": ("nvidia.com/gpu", 1),
    "gateway-api": ("nvidia.com/gpu", 1),
    "istio": ("nvidia.com/gpu", 1),
    "llm-67b": ("nvidia.com/gpu", 1),
    "r1": ("nvidia.com/gpu", 8),
    "r1-0528-qwen3-8b": ("nvidia.com/gpu", 1),
    "r1-distill-llama-70b": ("nvidia.com/gpu", 4),
    "r1-distill-qwen-1.5b": ("nvidia.com/mig-1g.10gb", 1),
    "r1-distill-qwen-14b": ("nvidia.com/gpu", 1),
    "r1-distill-qwen-32b": ("nvidia.com/gpu", 2),
    "r1-distill-qwen-7b": ("nvidia.com/gpu", 2),
    "sglang-v3": ("nvidia.com/gpu", 8),
    "v2": ("nvidia.com/gpu", 8),
    "v2-lite": ("nvidia.com/gpu", 1),
    "v2.5": ("nvidia.com/gpu", 8),
    "v3-h100": ("nvidia.com/gpu", 8),
    "v3": ("nvidia.com/gpu", 8),
    "v3.1": ("nvidia.com/gpu", 8),
    "vllm-r1-distill-llama-70b": ("nvidia.com/gpu", 4),
    "vllm-v3-h100": ("nvidia.com/gpu", 8),
    "shared-gateway": ("nvidia.com/gpu", 1),
    "vllm-v3": ("nvidia.com/gpu", 8),
    "zero-trust": ("nvidia.com/gpu", 1),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_renders_its_golden_file(example: Path) -> None:
    """After an intended change run python -m tests.unit.operator.golden and review the diff."""
    assert golden_file(example).read_text(encoding="utf-8") == rendered(example)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_golden_file_requests_the_gpus_that_the_model_needs(example: Path) -> None:
    manifests = yaml.safe_load_all(golden_file(example).read_text(encoding="utf-8"))
    (workload,) = filter(is_workload, manifests)
    (server,) = pod_spec(workload)["containers"]
    resource, count = EXPECTED[example.stem]
    assert server["resources"]["limits"][resource] == count


def test_every_golden_file_has_an_example() -> None:
    files = {path.stem for path in golden_file(EXAMPLES[0]).parents[1].glob("*/*.yaml")}
    assert files == set(EXPECTED) == {example.stem for example in EXAMPLES}
