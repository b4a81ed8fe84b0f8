"""Run the soak test: JSON on standard output, exit code 1 if a check failed."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.server.progress import bar
from hack.models.families import FAMILIES
from hack.soak.run import Plan, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=sorted(FAMILIES), default="llama")
    plan = Plan(**vars(parser.parse_args()))
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as directory,
        bar("soaking", int(plan.seconds), "s") as tick,
    ):
        found = soak(plan, Path(directory), tick)
    print(json.dumps(found, indent=2))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
