"""What the examples of sizes, engines and routing become: all children of each, as a cluster gets them."""

from pathlib import Path

import yaml

from deepseek_operator.cli.output import as_yaml
from deepseek_operator.cluster.kinds import OPTIONAL
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.labels import MANIFEST_HASH
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.render.children import children
from tests.support.repository import ROOT

EXAMPLES = sorted(
    example
    for folder in ("sizes", "engines", "routing")
    for example in (ROOT / "examples" / folder).glob("*.yaml")
)
SETTINGS = Settings(server_image="registry.example/deepseek-server:1")
# Optional APIs that examples need; without PodMonitor, which all would have.
SERVED = frozenset(kind.called for kind in OPTIONAL) - {"PodMonitor"}
HEADER = "# What the operator makes of {}. Written by `python -m tests.unit.operator.golden`.\n"


def golden_file(example: Path) -> Path:
    """Where the children of an example are."""
    return Path(__file__).parent / example.parent.name / example.name


def rendered(example: Path) -> str:
    """The children of an example in an empty cluster that has what it needs, as YAML."""
    body = yaml.safe_load(example.read_text(encoding="utf-8"))
    body["metadata"] |= {"namespace": "apps", "uid": "00000000-0000-0000-0000-000000000000"}
    decision = decide(body, SETTINGS, Observed(served=SERVED))
    assert isinstance(decision, Target), decision
    name = example.relative_to(example.parents[2])
    manifests = children(decision)
    for manifest in manifests:
        del manifest["metadata"]["annotations"][MANIFEST_HASH]
        if not manifest["metadata"]["annotations"]:
            del manifest["metadata"]["annotations"]
    return HEADER.format(name) + as_yaml(*manifests)
