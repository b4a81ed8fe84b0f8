"""`deepseek catalog`: the facts that plans are made of."""

from typing import Annotated, Any

import typer

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.entries import built_in
from deepseek_operator.catalog.models import models
from deepseek_operator.cli import options
from deepseek_operator.cli.installation import installation
from deepseek_operator.cli.output import Format, listed

catalog = typer.Typer(
    help="Models, accelerators: what is known, and as of when.", no_args_is_help=True
)

Output = Annotated[Format, typer.Option("--output", "-o", help="How it is written.")]


@catalog.command("models")
def list_models(values: options.Values = None, output: Output = Format.table) -> None:
    """List the models: their sizes, and the longest context that they were made for."""
    installation(values, None, "")
    rows: list[dict[str, Any]] = []
    for name in models():
        known = models().get(name)
        row: dict[str, Any] = {"model": name, "served": known is not None}
        if known:
            row |= {
                "parameters": known.parameters,
                "weights": known.weights,
                "weightBytes": known.weight_bytes,
                "maxContext": known.shape.context,
                "attention": known.shape.attention,
            }
        rows.append(row)
    listed(rows, output, f"as of {models().as_of}")


@catalog.command("accelerators")
def list_accelerators(values: options.Values = None, output: Output = Format.table) -> None:
    """List the kinds of GPU by the name that spec.accelerator.profile takes."""
    installation(values, None, "")
    rows = [
        {
            "profile": name,
            "memoryMiB": kind.memory_mib,
            "bandwidthGBs": kind.bandwidth,
            "tflopsBfloat16": kind.tflops.get("bfloat16"),
            "together": kind.together,
            "resource": kind.resource,
        }
        for name, kind in accelerators().profiles.items()
    ]
    listed(rows, output, f"as of {built_in('accelerators')['as_of']}")
