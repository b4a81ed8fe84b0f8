"""`deepseek local status`: resources on this machine."""

from typing import Annotated, Any

import typer

from deepseek_operator.cli.local.known import look, state_dir_of
from deepseek_operator.cli.output import Format, as_json, as_yaml, listed, write
from deepseek_operator.local.state_dir import StateDir
from deepseek_operator.local.view import View


def status(
    name: Annotated[
        str | None, typer.Argument(help="Name of the resource. Default: all resources.")
    ] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="Output format.")] = Format.table,
) -> None:
    """Show the resources on this machine and the state of their replicas."""
    state_dirs = [state_dir_of(name)] if name else list(StateDir.every())
    views = [view for view in map(look, state_dirs) if view]
    if output is not Format.table:
        plain = [_plain(view) for view in views]
        write(as_json(plain) if output is Format.json else as_yaml(plain))
        return
    if not views:
        write("No resources on this machine.\n")
        return
    listed([_row(view) for view in views], output)
    for view in views:
        write(f"\n{view.name}\n")
        for replica in view.replicas:
            port = f", port {replica.port}" if replica.port else ""
            write(f"  {replica}{port}\n")


def _row(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "state": view.state,
        "ready": f"{view.ready}/{len(view.replicas)}",
        "model": view.model,
        "on": view.runs_on,
        "endpoint": f"{view.endpoint}/v1",
        "requests": view.requests,
        "since": view.since,
    }


def _plain(view: View) -> dict[str, Any]:
    return {**view.model_dump(mode="json", by_alias=True), "state": view.state, "ready": view.ready}
