"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from deepseek_operator.cli.assumed import KINDS

File = Annotated[
    Path,
    typer.Argument(help="File with a DeepSeekDeployment; - for standard input.", metavar="FILE"),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", help="Where it would be. Default: what FILE says, or default."
    ),
]
Served = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Optional kinds that the cluster has, or none. Default: all ({', '.join(KINDS)}).",
        metavar="KIND,...",
    ),
]
Nodes = Annotated[
    Path | None,
    typer.Option(help="What `kubectl get nodes -o yaml` says. Default: there are no nodes yet."),
]
ModelConfig = Annotated[
    Path | None,
    typer.Option(help="The model's config.json, where the catalogue does not have the model."),
]
Values = Annotated[
    Path | None,
    typer.Option(help="Values of the operator's chart, as it is or would be installed with."),
]
Image = Annotated[
    str | None,
    typer.Option(help="Image of the model server, before what the values say."),
]
OperatorNamespace = Annotated[
    str, typer.Option(help="Where the operator runs; policies let it in. Empty: nowhere.")
]
