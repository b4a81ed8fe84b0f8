"""`deepseek doctor`: problems that keep models from being served, with fixes."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated

import typer

from deepseek_operator.cli import options
from deepseek_operator.cli.doctor import (
    apis,
    control_plane,
    gpus,
    machine,
    machine_look,
    operators,
    surroundings,
)
from deepseek_operator.cli.doctor.facts import Facts
from deepseek_operator.cli.doctor.finding import Finding, failed, plain
from deepseek_operator.cli.doctor.look import look
from deepseek_operator.cli.errors import REFUSED, CommandError, UnansweredError
from deepseek_operator.cli.live.ask import CURRENT, ask, namespace_of
from deepseek_operator.cli.output import Format, new_table, show, write, written

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    *control_plane.CHECKS,
    *operators.CHECKS,
    *gpus.CHECKS,
    *apis.CHECKS,
    *surroundings.CHECKS,
)


def doctor(
    context: options.Context = None,
    namespace: options.HomeNamespace = None,
    this_machine: Annotated[
        bool, typer.Option("--machine", help="Check this machine instead of a cluster.")
    ] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="Output format.")] = Format.table,
) -> None:
    """Check a cluster, or this machine, and show what to fix.

    Nothing is changed. Checks for which you lack permission are "unknown" and name that permission.

    Exit codes: 0: no problem. 1: at least one problem. 2: the kubeconfig or an option is invalid.
    """
    if this_machine:
        if context:
            raise CommandError("--machine checks this machine: leave out --context.")
        seen = machine_look.look()
        found = list(chain.from_iterable(check(seen) for check in machine.CHECKS))
    else:
        context = context or CURRENT
        found = _of_cluster(context, namespace or namespace_of(context))
    if output is Format.table:
        _page(found)
    else:
        write(written(plain(found), output))
    if failed(found):
        raise typer.Exit(REFUSED)


def _of_cluster(context: str, namespace: str) -> list[Finding]:
    try:
        facts = ask(context, lambda client: look(client, namespace))
    except UnansweredError as error:
        fix = "Fix the connection first; no other check could run."
        return [Finding("API server", "problem", str(error), fix)]
    return list(chain.from_iterable(check(facts) for check in CHECKS))


def _page(found: list[Finding]) -> None:
    table = new_table("check", "state", "finding", "fix")
    for row in found:
        table.add_row(row.check, row.state, row.message, row.fix)
    show(table)
    count = {
        state: sum(row.state == state for row in found)
        for state in ("problem", "warning", "unknown")
    }
    totals = ", ".join(
        f"{number} {state}{'s' * (number > 1 and state != 'unknown')}"
        for state, number in count.items()
        if number
    )
    write(f"\n{totals or 'no problems found'}\n")
