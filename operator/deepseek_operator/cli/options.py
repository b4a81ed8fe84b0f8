"""Options that several commands have."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from deepseek_operator.catalog.prices import Prices, prices
from deepseek_operator.cli.assumptions import KINDS
from deepseek_operator.cli.documents import mapping
from deepseek_operator.cli.errors import CommandError

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
HomeNamespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Where they are. Default: that of the context."),
]
Context = Annotated[
    str | None,
    typer.Option(help="Cluster of this context of the kubeconfig; . is its current one."),
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
    str | None,
    typer.Option(
        help="Where the operator runs; policies let it in. Empty: nowhere. Default: "
        "deepseek-system, with --context wherever it is."
    ),
]
Requests = Annotated[
    float,
    typer.Option(min=0, help="Requests in a second, on average. Default: all that it can do."),
]
Input = Annotated[int, typer.Option("--input", min=1, help="Tokens of a prompt.")]
Output = Annotated[int, typer.Option("--answer", min=1, help="Tokens of an answer.")]
Burst = Annotated[float, typer.Option(min=1, help="The peak in terms of the average.")]
Hours = Annotated[float, typer.Option(min=0.1, max=24, help="Hours of a day with requests.")]
People = Annotated[
    float | None,
    typer.Option(min=0, help="Dollars by month for those who run machines of your own."),
]
PricesFile = Annotated[
    Path | None,
    typer.Option("--prices", help="Prices of your own, laid over those of the catalogue."),
]
Html = Annotated[
    Path | None,
    typer.Option(help="Write a page for browsers to this file too, in place of what it holds."),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="The day by which prices are old or not. Default: today.", metavar="YYYY-MM-DD"
    ),
]


def known_prices(file: Path | None) -> Prices:
    """The catalogue's prices, those of a file laid over them.

    Raises:
        CommandError: The file can't be read.
        EntryError: An entry of it is wrong.
    """
    return prices(mapping(file), str(file)) if file else prices()


def day(as_of: str | None) -> date:
    """The day that was given, or this one.

    Raises:
        CommandError: It is none.
    """
    if as_of is None:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(as_of)
    except ValueError as error:
        raise CommandError(f"--as-of {as_of} is no day: write it as 2026-11-28.") from error
