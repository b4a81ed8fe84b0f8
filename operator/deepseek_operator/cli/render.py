"""`deepseek render`: the child manifests of a resource, as the operator would apply them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from deepseek_operator.cli import options, resource
from deepseek_operator.cli.assumptions import cluster
from deepseek_operator.cli.documents import mapping
from deepseek_operator.cli.errors import CommandError, RefusedError
from deepseek_operator.cli.installation import IMAGE, TAG, installation
from deepseek_operator.cli.live.ask import ask
from deepseek_operator.cli.live.installed import Installing
from deepseek_operator.cli.live.present import ASSUMED, Present, present
from deepseek_operator.cli.output import Manifests, as_json, as_yaml, warn, write
from deepseek_operator.cluster.client import Client
from deepseek_operator.plan.initial import fresh
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.render.fresh import manifests, unowned


def render(
    file: options.File,
    namespace: options.Namespace = None,
    context: options.Context = None,
    served: options.Served = None,
    nodes: options.Nodes = None,
    model_config: options.ModelConfig = None,
    values: options.Values = None,
    server_image: options.Image = None,
    operator_namespace: options.OperatorNamespace = None,
    uid: Annotated[
        str | None,
        typer.Option(
            help="UID of the resource in the cluster. Without it the children have no owner reference: "
            "Kubernetes deletes objects whose owner does not exist."
        ),
    ] = None,
    output: Annotated[
        Manifests, typer.Option("--output", "-o", help="Output format.")
    ] = Manifests.yaml,
) -> None:
    """Write the manifests that the operator would apply for FILE, without or with a cluster.

    A cluster is queried only with --context. With --uid, and --values of the installation, the
    output is byte for byte what the operator applies first. Leave --uid out for manifests that are
    kept in a repository.

    Exit codes: 1: the operator would reject FILE. 2: FILE or an option is invalid. 4: the cluster
    can't be reached or denies access.
    """
    now = datetime.now(UTC)
    bodies = resource.read(file, namespace, uid)
    if context:
        if served or nodes:
            raise CommandError(ASSUMED)
        config = mapping(model_config) if model_config else None
        installing = Installing(values, server_image, operator_namespace)
        situations = ask(context, lambda client: _present(client, bodies, installing, config))
    else:
        settings = installation(values, server_image, operator_namespace)
        situations = [
            Present(body, settings, cluster(body, settings, served, nodes, model_config))
            for body in bodies
        ]
    found = []
    for there in situations:
        sets = fresh(there.body, there.settings, there.observed, now)
        if isinstance(sets, Refusal):
            raise RefusedError(sets.reason, sets.message)
        if sets.active.image == f"{IMAGE}:{TAG}":
            warn(
                f"No image is published: the pods use the placeholder {IMAGE}:{TAG}; "
                "set --server-image."
            )
        children = manifests(sets, now)
        owned = there.body["metadata"]["uid"] != resource.NOWHERE
        found += children if owned else [unowned(child) for child in children]
    if output is Manifests.yaml:
        write(as_yaml(*found))
    else:
        write(as_json({"apiVersion": "v1", "kind": "List", "items": found}))


async def _present(
    client: Client,
    bodies: list[dict[str, Any]],
    installing: Installing,
    config: Mapping[str, Any] | None,
) -> list[Present]:
    settings = await installing.settings(client)
    return [await present(client, body, settings, config) for body in bodies]
