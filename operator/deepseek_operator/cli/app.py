"""The command-line application: its commands and error handling."""

import sys

import typer

from deepseek_operator.catalog.entries import EntryError
from deepseek_operator.cli.catalog import catalog
from deepseek_operator.cli.doctor.command import doctor
from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cli.local.app import local
from deepseek_operator.cli.plan import plan
from deepseek_operator.cli.recommend import recommend
from deepseek_operator.cli.render import render
from deepseek_operator.cli.status.command import status

app = typer.Typer(
    name="deepseek",
    help="Plan, check, serve and monitor DeepSeek models on Kubernetes or on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(doctor)
app.command()(plan)
app.command()(recommend)
app.command()(render)
app.command()(status)
app.add_typer(local, name="local")
app.add_typer(catalog, name="catalog")


@app.callback()
def _commands() -> None:
    pass


def main() -> None:
    """Run a command; print a user error as one message and exit with its code."""
    try:
        app()
    except (CommandError, EntryError) as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(getattr(error, "code", 2))
