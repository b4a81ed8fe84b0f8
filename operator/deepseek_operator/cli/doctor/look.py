"""Collection of the facts of a cluster; facts that can't be read become `Unseen`."""

import asyncio
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, TypeVar

from deepseek_operator.api.crd import NAME
from deepseek_operator.cli.doctor.facts import Facts, Objects
from deepseek_operator.cli.doctor.finding import Unseen
from deepseek_operator.cli.doctor.gpus import devices
from deepseek_operator.cli.live.installed import LEASES, deployments
from deepseek_operator.cli.live.present import served_kinds
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError, ForbiddenError, NotFoundError
from deepseek_operator.cluster.kinds import (
    API_SERVICE,
    LEASE,
    NODE,
    RESOURCE,
    Kind,
)
from deepseek_operator.cluster.usage import NodeUsage
from deepseek_operator.plan.rolling.capacity import Usage

T = TypeVar("T")

CRD = Kind("CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions")
NAMESPACE = Kind("Namespace", "", "v1", "namespaces")
STORAGE_CLASS = Kind("StorageClass", "storage.k8s.io", "v1", "storageclasses")
OWN_ACCESS = Kind(
    "SelfSubjectAccessReview", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"
)
# Verbs that a user who runs models needs.
VERBS = ("create", "update", "patch", "delete")


async def look(client: Client, namespace: str) -> Facts:
    """Gather the facts of a cluster and of one namespace.

    Raises:
        ApiError: The API server can't be reached.
    """
    server = await client.answer("/version")
    async with asyncio.TaskGroup() as tasks:

        def seen(fact: Coroutine[Any, Any, T], right: str) -> asyncio.Task[T | Unseen]:
            return tasks.create_task(_seen(fact, right))

        served = seen(served_kinds(client), "get the discovery API")
        crd = seen(client.get(CRD, "", NAME), f"get {CRD.plural}")
        ours = seen(client.serves(RESOURCE), "get the discovery API")
        operators = seen(deployments(client), "list deployments in all namespaces")
        leases = seen(_leases(client), "list leases in all namespaces")
        nodes = seen(_all(client, NODE), f"list {NODE.plural}")
        storage = seen(_all(client, STORAGE_CLASS), f"list {STORAGE_CLASS.plural}")
        services = seen(_all(client, API_SERVICE), f"list {API_SERVICE.plural}")
        space = seen(client.get(NAMESPACE, "", namespace), f"get {NAMESPACE.plural}")
        resources = seen(_resources(client, namespace), f"list {RESOURCE.plural} in {namespace}")
        allowed = seen(_allowed(client, namespace), f"create {OWN_ACCESS.plural}")
    there = nodes.result()
    usage: Usage | Unseen = Unseen("")
    if not isinstance(there, Unseen):
        usage = await _seen(_usage(client, there), "list pods in all namespaces")
    return Facts(
        now=datetime.now(UTC),
        here=version("deepseek-operator"),
        namespace=namespace,
        version=str((server or {}).get("gitVersion", "")),
        served=served.result(),
        crd=crd.result(),
        serves_ours=ours.result(),
        operators=operators.result(),
        leases=leases.result(),
        nodes=there,
        usage=usage,
        storage=storage.result(),
        services=services.result(),
        space=space.result(),
        resources=resources.result(),
        allowed=allowed.result(),
    )


async def _seen(fact: Coroutine[Any, Any, T], right: str) -> T | Unseen:
    try:
        return await fact
    except ForbiddenError as error:
        return Unseen(str(error), right)
    except ApiError as error:
        return Unseen(str(error))


async def _all(client: Client, kind: Kind) -> Objects:
    return tuple((await client.list(kind))[0])


async def _leases(client: Client) -> Objects:
    return tuple(await client.select(LEASE, fields=f"metadata.name={LEASES}"))


async def _resources(client: Client, namespace: str) -> Objects:
    try:
        return tuple(await client.select(RESOURCE, namespace))
    except NotFoundError:
        return ()  # the CRD is not installed, which another check reports


async def _usage(client: Client, nodes: Objects) -> Usage:
    names = [node["metadata"]["name"] for node in nodes if devices(node)]
    found: dict[str, Any] = {}
    async for some in NodeUsage(client).batches(names, 0.0):
        found |= some
    return found


async def _allowed(client: Client, namespace: str) -> Mapping[str, bool]:
    async def may(verb: str) -> bool:
        asked = {
            "namespace": namespace,
            "verb": verb,
            "group": RESOURCE.group,
            "resource": RESOURCE.plural,
        }
        review = {
            "apiVersion": f"{OWN_ACCESS.group}/{OWN_ACCESS.version}",
            "kind": OWN_ACCESS.name,
            "metadata": {},
            "spec": {"resourceAttributes": asked},
        }
        return bool((await client.create(OWN_ACCESS, review))["status"]["allowed"])

    answers = await asyncio.gather(*(may(verb) for verb in VERBS))
    return {f"{verb} {RESOURCE.plural}": may for verb, may in zip(VERBS, answers, strict=True)}
