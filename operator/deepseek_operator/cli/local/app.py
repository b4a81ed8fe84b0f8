"""The commands of `deepseek local`."""

import typer

from deepseek_operator.cli.local.down import down
from deepseek_operator.cli.local.logs import logs
from deepseek_operator.cli.local.status import status
from deepseek_operator.cli.local.up import up

local = typer.Typer(help="Serve resources on this machine without a cluster.", no_args_is_help=True)
local.command()(up)
local.command()(status)
local.command()(logs)
local.command()(down)
