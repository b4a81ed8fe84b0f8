"""A slice of a model at its real widths, checked on a GPU: `python -m hack.gpu.slices`.

Writes the slice with random weights (`--profile v3-slice`: 27 GB of disk, kept for the next run),
starts it as the server does with default settings, and checks that

- it starts; the duration of each phase is reported;
- its logits equal those of transformers' own model of the same files, up to rounding errors;
- chunked prefill beside running requests, prefix hits and preemption give the same answers as each
  request alone;
- a context of 32k works;
- the memory planned by the operator equals the memory used.

Each part runs in its own process, so that all of a GPU's memory is free for it. Prints JSON. Exits
with 1 if a check fails. Without a GPU, `--device cpu` checks a small variant of each family:
`--profile v3-tiny`, `v2-tiny`, `llama-tiny`, `v3.2-tiny`, `v4-tiny`.

`--tensor-parallel-of 8 --rank 0` does the same with the part of one of eight GPUs, without the other
seven; its logits are meaningless, so they are not compared.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.server.commands.flags import add_one_rank, one_rank
from benchmarks.server.failures import BenchError
from benchmarks.server.model import profiles
from hack.gpu import memory
from hack.gpu.slices import parts

PARTS = ("engine", "reference", "memory")
CONTEXT = {"cpu": 2048, "cuda": 32768}
Result = dict[str, Any]


def check(flags: argparse.Namespace) -> dict[str, Result]:
    """Run all parts."""
    group = one_rank(flags)
    directory = memory.directory(flags.profile, flags.directory, flags.layers)
    vocabulary = profiles.configuration(flags.profile)["vocab_size"]
    context = flags.context or CONTEXT[flags.device]
    found: dict[str, Result] = {}
    ours = None
    if "engine" in flags.parts:
        part = parts.run(
            flags.device, parts.engine, directory, flags.device, context, vocabulary, group
        )
        results, ours = part if isinstance(part, tuple) else ({"engine": part}, None)
        found |= results
    if "reference" in flags.parts and ours is not None:
        found["reference"] = parts.run(
            flags.device, parts.compared, directory, flags.device, vocabulary, ours
        )
    if "memory" in flags.parts:
        found["memory"] = parts.run(
            flags.device, parts.planned, directory, flags.device, flags.accelerator, group
        )
    return found


def main(arguments: list[str] | None = None) -> None:
    flags = _parser().parse_args(arguments)
    if flags.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU: run this on a machine with a GPU, or use --device cpu")
    try:
        flags.profile = profiles.named(flags.profile)
    except ValueError as error:
        sys.exit(str(error))
    try:
        found = check(flags)
    except BenchError as error:
        sys.exit(str(error))
    failed = [name for name, result in found.items() if not result.get("passed", True)]
    skipped = [name for name, result in found.items() if "skipped" in result]
    layers = flags.layers or profiles.configuration(flags.profile)["num_hidden_layers"]
    summary = {
        "profile": flags.profile,
        "layers": layers,
        "ranks": flags.tensor_parallel_of,
        "device": torch.cuda.get_device_name() if flags.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "checks": found,
        "skipped": skipped,
        "failed": failed,
    }
    print(json.dumps(summary, indent=1))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hack.gpu.slices",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="v3-slice", help=", ".join(profiles.NAMES))
    parser.add_argument("--layers", type=int, help="number of layers, instead of the profile's own")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--context", type=int, help="tokens of the longest request; default: 32k")
    parser.add_argument("--directory", type=Path, help="model directory, written if missing")
    parser.add_argument("--accelerator", help="catalogue name of the GPU, if it is not detected")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    add_one_rank(parser)
    return parser


if __name__ == "__main__":
    main()
