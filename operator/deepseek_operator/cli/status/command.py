"""`deepseek status`: the command line."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer

from deepseek_operator.cli import options
from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cli.live.ask import CURRENT, ask, namespace_of
from deepseek_operator.cli.output import Format, clear, write, written
from deepseek_operator.cli.status import page
from deepseek_operator.cli.status.state import follow, read

Object = dict[str, Any]


def status(
    name: Annotated[
        str | None, typer.Argument(help="Resource to show in detail. Default: list all.")
    ] = None,
    context: options.Context = None,
    namespace: options.HomeNamespace = None,
    everywhere: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="List resources in all namespaces.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Print again after every change, until Ctrl-C.")
    ] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="Output format.")] = Format.table,
) -> None:
    """Show the status, conditions and Events of resources in a cluster.

    Exit codes: 2: the resource does not exist. 4: the cluster can't be reached or denies access.
    """
    if name and everywhere:
        raise CommandError("NAME can't be combined with -A: leave one of them out.")
    context = context or CURRENT
    where = "" if everywhere else namespace or namespace_of(context)

    def tell(found: list[Object]) -> None:
        _write(found, name, where, output)

    if watch:
        ask(
            context,
            lambda client: follow(
                partial(read, client, where, name), partial(_again, tell, output)
            ),
        )
    else:
        tell(ask(context, lambda client: read(client, where, name)))


def _again(tell: Any, output: Format, found: list[Object]) -> None:
    if output is Format.table:
        clear()
        write(f"{datetime.now(UTC):%H:%M:%S}Z\n")
    if output is Format.yaml:
        write("---\n")
    tell(found)


def _write(found: list[Object], name: str | None, namespace: str, output: Format) -> None:
    if name and not found:
        raise CommandError(f"There is no DeepSeekDeployment {name} in namespace {namespace}.")
    if output is not Format.table:
        write(written(found[0] if name else found, output))
    elif name:
        page.page(found[0], datetime.now(UTC))
    elif found:
        page.overview(found)
    else:
        write(f"There are no DeepSeekDeployments in {namespace or 'any namespace'}.\n")
