"""`deepseek render`: the children of a resource, as the operator would apply them."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from deepseek_operator.cli import options, resource
from deepseek_operator.cli.assumed import cluster
from deepseek_operator.cli.errors import RefusedError
from deepseek_operator.cli.installation import IMAGE, TAG, installation
from deepseek_operator.cli.output import Manifests, as_json, as_yaml, warn, write
from deepseek_operator.plan.checks import Refusal
from deepseek_operator.plan.fresh import fresh
from deepseek_operator.render.fresh import manifests, unowned


def render(
    file: options.File,
    namespace: options.Namespace = None,
    served: options.Served = None,
    nodes: options.Nodes = None,
    model_config: options.ModelConfig = None,
    values: options.Values = None,
    server_image: options.Image = None,
    operator_namespace: options.OperatorNamespace = "deepseek-system",
    uid: Annotated[
        str | None,
        typer.Option(
            help="The resource's own in the cluster. Without it the children name no owner: "
            "Kubernetes deletes what belongs to something that is not there."
        ),
    ] = None,
    output: Annotated[
        Manifests, typer.Option("--output", "-o", help="How they are written.")
    ] = Manifests.yaml,
) -> None:
    """Write what the operator would make of FILE, without a cluster.

    With --uid and --values of the installation every byte is what the operator would apply first.
    For manifests that live in a repository leave --uid out.

    Exit code 1: the operator would refuse it. 2: FILE or an option can't be used.
    """
    settings = installation(values, server_image, operator_namespace)
    now = datetime.now(UTC)
    found = []
    for body in resource.read(file, namespace, uid):
        observed = cluster(body, settings, served, nodes, model_config)
        sets = fresh(body, settings, observed, now)
        if isinstance(sets, Refusal):
            raise RefusedError(sets.reason, sets.message)
        if sets.lead.image == f"{IMAGE}:{TAG}":
            warn(f"No image is published: the pods say {IMAGE}:{TAG}; see --server-image.")
        children = manifests(sets, now)
        found += children if uid else [unowned(child) for child in children]
    if output is Manifests.yaml:
        write(as_yaml(*found))
    else:
        write(as_json({"apiVersion": "v1", "kind": "List", "items": found}))
