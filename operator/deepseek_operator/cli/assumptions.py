"""Assumptions about a cluster that is not queried: the kinds that it serves, and its nodes."""

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
OFFLINE = "this command downloads nothing; pass its config.json with --model-config"


def cluster(
    body: dict[str, Any],
    settings: Settings,
    served: list[str] | None,
    nodes: Path | None,
    config: Path | None,
) -> Observed:
    """Return the assumed state of the cluster for a resource.

    Args:
        body: The resource.
        settings: Operator settings of the installation.
        served: Optional kinds that the cluster serves, `none` for none; None: all.
        nodes: Output of `kubectl get nodes -o yaml`; None: there are no nodes yet.
        config: The model's config.json, for models that are not in the catalogue.

    Raises:
        CommandError: A kind is not an optional kind, or a file can't be used.
    """
    observed = Observed(served=kinds(served), nodes=read_nodes(nodes) if nodes else ())
    file = unread_file(body, settings)
    if file is None:
        return observed
    if config is None:
        return replace(observed, config=replace(file, problem=OFFLINE))
    return replace(observed, config=replace(file, content=mapping(config)))


def kinds(served: list[str] | None) -> frozenset[str]:
    """Return the optional kinds named by --served.

    Raises:
        CommandError: A name is not an optional kind.
    """
    if not served:
        return frozenset(KINDS)
    names = [name.strip() for item in served for name in item.split(",") if name.strip()]
    if names == [NONE]:
        return frozenset()
    for name in names:
        if name not in KINDS:
            raise CommandError(
                f"--served {name}: unknown optional kind. Use one of {', '.join(KINDS)}, or "
                f"{NONE} for a cluster without optional kinds."
            )
    return frozenset(names)


def read_nodes(path: Path) -> tuple[NodeView, ...]:
    """Return the nodes of a file: a List, or one document per Node.

    Raises:
        CommandError: The file can't be read or contains no nodes.
    """
    found: list[Any] = []
    for item in documents(path):
        found += item.get("items", [item]) if isinstance(item, dict) else [item]
    try:
        return tuple(NodeView.of(item) for item in found)
    except (AttributeError, KeyError, TypeError) as error:
        raise CommandError(
            f"{path} contains no nodes: create it with kubectl get nodes -o yaml > FILE."
        ) from error
