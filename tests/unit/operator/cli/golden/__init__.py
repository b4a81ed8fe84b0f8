"""Golden output of `deepseek plan`: all examples as JSON, two as text, and two refusals."""

from pathlib import Path

from tests.support.repository import ROOT
from tests.unit.operator.cli.command import deepseek

EXAMPLES = ROOT / "examples"
DATA = (
    "minimal",
    "scaling",
    "engines/vllm-v3-h100",
    "routing/istio",
    "routing/zero-trust",
    "rollout/canary",
    "sizes/llm-67b",
    "sizes/r1",
    "sizes/r1-distill-qwen-1.5b",
    "sizes/r1-distill-qwen-7b",
    "sizes/v2-lite",
    "sizes/v3-h100",
)
# Resources beside this file that the operator refuses.
REFUSED = ("too-large", "uneven")
PAGES = ("sizes/r1", "routing/zero-trust")
# Date at which the age of prices is judged; nothing else depends on the time.
DAY = "2026-11-28"


def files() -> dict[Path, str]:
    """Return the expected content of every golden file."""
    texts = {}
    for name in DATA:
        texts[_file(name, "json")] = planned(name, "json")
    for name in PAGES:
        texts[_file(name, "txt")] = planned(name, "table")
    for name in REFUSED:
        texts[_file(name, "json")] = refused(name)
    return texts


def planned(name: str, output: str) -> str:
    result = deepseek("plan", EXAMPLES / f"{name}.yaml", "-o", output, "--as-of", DAY)
    assert result.code == 0, result.err
    return result.out


def refused(name: str) -> str:
    result = deepseek("plan", _file(name, "yaml"), "-o", "json", "--as-of", DAY)
    assert result.code == 1, result.out
    return result.out


def _file(name: str, ending: str) -> Path:
    return Path(__file__).parent / f"{name.rpartition('/')[2]}.{ending}"
