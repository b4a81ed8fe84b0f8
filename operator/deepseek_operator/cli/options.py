"""Options that several commands share."""

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
    typer.Argument(help="File with a DeepSeekDeployment; - reads standard input.", metavar="FILE"),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Namespace of the resource. Default: the one in FILE, or default.",
    ),
]
HomeNamespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace. Default: the one of the context."),
]
Context = Annotated[
    str | None,
    typer.Option(help="Kubeconfig context of the cluster; . is the current context."),
]
Served = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Optional kinds that the cluster serves, or none. Default: all ({', '.join(KINDS)}).",
        metavar="KIND,...",
    ),
]
Nodes = Annotated[
    Path | None,
    typer.Option(help="Output of `kubectl get nodes -o yaml`. Default: no nodes."),
]
ModelConfig = Annotated[
    Path | None,
    typer.Option(help="The model's config.json, for models that are not in the catalogue."),
]
Values = Annotated[
    Path | None,
    typer.Option(help="Helm values of the operator's installation."),
]
Image = Annotated[
    str | None,
    typer.Option(help="Image of the model server; overrides --values."),
]
OperatorNamespace = Annotated[
    str | None,
    typer.Option(
        help="Namespace of the operator, which policies allow in. Empty: none. Default: "
        "deepseek-system; with --context, where the operator is installed."
    ),
]
Requests = Annotated[
    float,
    typer.Option(min=0, help="Average requests per second. Default: full capacity."),
]
Input = Annotated[int, typer.Option("--input", min=1, help="Input tokens per request.")]
Output = Annotated[int, typer.Option("--answer", min=1, help="Output tokens per request.")]
Burst = Annotated[float, typer.Option(min=1, help="Ratio of peak to average load.")]
Hours = Annotated[float, typer.Option(min=0.1, max=24, help="Hours per day with requests.")]
People = Annotated[
    float | None,
    typer.Option(min=0, help="Monthly staff cost of running your own machines, in dollars."),
]
PricesFile = Annotated[
    Path | None,
    typer.Option("--prices", help="File with your own prices; overrides the catalogue."),
]
Html = Annotated[
    Path | None,
    typer.Option(help="Also write an HTML page to this file; overwrites the file."),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="Date at which the age of prices is judged. Default: today.", metavar="YYYY-MM-DD"
    ),
]


def known_prices(file: Path | None) -> Prices:
    """Return the catalogue's prices, overridden by those of a file.

    Raises:
        CommandError: The file can't be read.
        EntryError: An entry of the file is invalid.
    """
    return prices(mapping(file), str(file)) if file else prices()


def day(as_of: str | None) -> date:
    """Return the given date, or today's (UTC).

    Raises:
        CommandError: The text is not a date.
    """
    if as_of is None:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(as_of)
    except ValueError as error:
        raise CommandError(f"--as-of {as_of} is not a date: write it as 2026-11-28.") from error
