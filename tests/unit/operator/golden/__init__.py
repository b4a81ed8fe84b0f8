"""Golden files: the rendered children of the examples of sizes, engines and routing."""

from pathlib import Path

import yaml

from deepseek_operator.cli.output import as_yaml
from deepseek_operator.cluster.kinds import OPTIONAL
from deepseek_operator.plan.desired.desired_state import DesiredState
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
# Optional APIs that examples need; without PodMonitor, which every example would have.
SERVED = frozenset(kind.called for kind in OPTIONAL) - {"PodMonitor"}
HEADER = "# Children of {}. Written by `python -m tests.unit.operator.golden`.\n"


def golden_file(example: Path) -> Path:
    """Return the golden file of an example."""
    return Path(__file__).parent / example.parent.name / example.name


def rendered(example: Path) -> str:
    """Return the children of an example as YAML, in an empty cluster with all optional APIs."""
    body = yaml.safe_load(example.read_text(encoding="utf-8"))
    body["metadata"] |= {"namespace": "apps", "uid": "00000000-0000-0000-0000-000000000000"}
    decision = decide(body, SETTINGS, Observed(served=SERVED))
    assert isinstance(decision, DesiredState), decision
    name = example.relative_to(example.parents[2])
    manifests = children(decision)
    for manifest in manifests:
        del manifest["metadata"]["annotations"][MANIFEST_HASH]
        if not manifest["metadata"]["annotations"]:
            del manifest["metadata"]["annotations"]
    return HEADER.format(name) + as_yaml(*manifests)
