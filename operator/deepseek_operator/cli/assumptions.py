"""What is assumed of a cluster that nobody asks: the kinds that it serves, and its nodes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from deepseek_operator.cli.documents import documents, mapping
from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cluster.kinds import OPTIONAL
from deepseek_operator.plan.plan import unread_file
from deepseek_operator.plan.state.observed import NodeView, Observed
from deepseek_operator.plan.state.settings import Settings

KINDS = tuple(sorted(kind.called for kind in OPTIONAL))
NONE = "none"
OFFLINE = "nothing is downloaded here; give its config.json with --model-config"


def cluster(
    body: dict[str, Any],
    settings: Settings,
    served: list[str] | None,
    nodes: Path | None,
    config: Path | None,
) -> Observed:
    """The cluster that a resource is thought into.

    Args:
        body: The resource.
        settings: Of the installation.
        served: Optional kinds that there are, `none` for none; None: all.
        nodes: What `kubectl get nodes -o yaml` has said; None: there are no nodes yet.
        config: The model's config.json, where the catalogue does not have the model.

    Raises:
        CommandError: A kind is no optional one, or a file is of no use.
    """
    observed = Observed(served=kinds(served), nodes=read_nodes(nodes) if nodes else ())
    file = unread_file(body, settings)
    if file is None:
        return observed
    if config is None:
        return replace(observed, config=replace(file, problem=OFFLINE))
    return replace(observed, config=replace(file, content=mapping(config)))


def kinds(served: list[str] | None) -> frozenset[str]:
    """Names of optional kinds, as they were given."""
    if not served:
        return frozenset(KINDS)
    names = [name.strip() for item in served for name in item.split(",") if name.strip()]
    if names == [NONE]:
        return frozenset()
    for name in names:
        if name not in KINDS:
            raise CommandError(
                f"--served {name}: this is no optional kind. They are {', '.join(KINDS)}; "
                f"{NONE} stands for a cluster without any."
            )
    return frozenset(names)


def read_nodes(path: Path) -> tuple[NodeView, ...]:
    """Nodes of a file: a List, or Node after Node."""
    found: list[Any] = []
    for item in documents(path):
        found += item.get("items", [item]) if isinstance(item, dict) else [item]
    try:
        return tuple(NodeView.of(item) for item in found)
    except (AttributeError, KeyError, TypeError) as error:
        raise CommandError(
            f"{path} holds no nodes: write kubectl get nodes -o yaml > FILE."
        ) from error
