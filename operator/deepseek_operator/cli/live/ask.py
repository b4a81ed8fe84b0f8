"""Queries to a cluster as the user of the kubeconfig, with readable errors."""

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

# Warnings of the client library are reported here as errors with a next step.
logging.getLogger("kubernetes").setLevel(logging.ERROR)

# Placeholder for the current context of the kubeconfig, which may have any name.
CURRENT = "."
# Exceptions raised by a missing or malformed kubeconfig.
UNREADABLE = (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError)
# Prefix of the client's connection errors.
AWAY = "The API server can't be reached"
NO_CRD = (
    "The CRD of DeepSeekDeployment is not installed: run kubectl apply -f crds/, or install the chart "
    "with crds.enabled=true."
)


def ask(context: str, question: Callable[[Client], Awaitable[T]]) -> T:
    """Run a query against a cluster and return its result.

    Args:
        context: Context of the kubeconfig, `CURRENT` for the current one.
        question: Coroutine function that runs the query; called once.

    Raises:
        CommandError: The kubeconfig can't be used.
        UnansweredError: The cluster can't be reached or denies access.
    """
    return asyncio.run(_asked(context, question))


def namespace_of(context: str) -> str:
    """Return the default namespace of a context, as kubectl does.

    Raises:
        CommandError: The kubeconfig can't be used.
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
        raise command_error(error) from error
    finally:
        await connecting.__aexit__(None, None, None)


def command_error(error: ApiError) -> CommandError:
    """Return the command error for a failed request, with the next step."""
    if isinstance(error, UnauthorizedError):
        return UnansweredError(
            f"The API server rejects your credentials ({error}): log in again, or use another --context."
        )
    if isinstance(error, ForbiddenError):
        return UnansweredError(
            f"Permission denied: {error}. Ask for that permission, or use another --context."
        )
    if isinstance(error, NotFoundError):
        if str(error).startswith("namespaces "):
            return CommandError(
                f"The namespace does not exist ({error}): run kubectl create namespace."
            )
        return UnansweredError(f"{NO_CRD} ({error})")
    if isinstance(error, RejectedError):
        return CommandError(f"The API server rejects the request: {error}")
    hint = " kubectl cluster-info shows the address in use."
    reason = str(error).rstrip(".")
    return UnansweredError(f"{reason}.{hint if reason.startswith(AWAY) else ''}")


def _unusable(context: str, error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".")
    which = "its current context" if context == CURRENT else f"its context {context}"
    return (
        f"The kubeconfig ($KUBECONFIG or ~/.kube/config), or {which}, can't be used: {reason}. "
        "kubectl config get-contexts lists the contexts."
    )
