"""Questions to a cluster, as the person of the kubeconfig."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import yaml
from kubernetes.aio.config import ConfigException

from deepseek_operator.cli.errors import CommandError, UnansweredError
from deepseek_operator.cluster import connection
from deepseek_operator.cluster.client import Client, connect
from deepseek_operator.cluster.errors import (
    ApiError,
    ForbiddenError,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
)

T = TypeVar("T")

# What the client's library would warn of is told as an error here, with what to do.
logging.getLogger("kubernetes").setLevel(logging.ERROR)

# What stands for the current context of the kubeconfig, which may have any name.
CURRENT = "."
# What reading a kubeconfig that is none, or half of one, raises.
UNREADABLE = (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError)
# How the client begins where no answer came.
AWAY = "The API server can't be reached"
NO_CRD = (
    "The cluster does not know DeepSeekDeployment: kubectl apply -f crds/, or install the chart "
    "with crds.enabled=true."
)


def ask(context: str, question: Callable[[Client], Awaitable[T]]) -> T:
    """The answer to a question.

    Args:
        context: Of the kubeconfig, `CURRENT` for its current one.
        question: Asks, and may be awaited once.

    Raises:
        CommandError: The kubeconfig is of no use.
        UnansweredError: The cluster does not answer, or not this person.
    """
    return asyncio.run(_asked(context, question))


def namespace_of(context: str) -> str:
    """The namespace that a context chooses, as for kubectl.

    Raises:
        CommandError: The kubeconfig is of no use.
    """
    try:
        return connection.namespace_of("" if context == CURRENT else context)
    except UNREADABLE as error:
        raise CommandError(_unusable(context, error)) from error


async def _asked(context: str, question: Callable[[Client], Awaitable[T]]) -> T:
    connecting = connect("" if context == CURRENT else context)
    try:
        client = await connecting.__aenter__()
    except UNREADABLE as error:
        raise CommandError(_unusable(context, error)) from error
    try:
        return await question(client)
    except ApiError as error:
        raise told(error) from error
    finally:
        await connecting.__aexit__(None, None, None)


def told(error: ApiError) -> CommandError:
    """A failed request in words, with what to do."""
    if isinstance(error, UnauthorizedError):
        return UnansweredError(
            f"The API server does not know you ({error}): log in again, or name another --context."
        )
    if isinstance(error, ForbiddenError):
        return UnansweredError(
            f"You may not: {error}. Ask for that right, or name another --context."
        )
    if isinstance(error, NotFoundError):
        if str(error).startswith("namespaces "):
            return CommandError(f"There is no such namespace ({error}): kubectl create namespace.")
        return UnansweredError(f"{NO_CRD} ({error})")
    if isinstance(error, RejectedError):
        return CommandError(f"The API server refuses it: {error}")
    hint = " kubectl cluster-info shows the address that was asked."
    said = str(error).rstrip(".")
    return UnansweredError(f"{said}.{hint if said.startswith(AWAY) else ''}")


def _unusable(context: str, error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    which = "its current context" if context == CURRENT else f"its context {context}"
    return (
        f"The kubeconfig ($KUBECONFIG or ~/.kube/config), or {which}, can't be used: {said}. "
        "kubectl config get-contexts lists what there is."
    )
