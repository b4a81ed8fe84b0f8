"""Write models from the command line: `python -m hack.models --out DIR [family ...]`.

A family's model is tiny. Names of CONFIGS (DeepSeek-V3 and its like) are published models at their
real size, in sparse files that hold no weights and take some megabytes of disk.
"""

import argparse
import time
from pathlib import Path

from hack.models.families import FAMILIES
from hack.models.published.configs import CONFIGS
from hack.models.published.shards import make_published
from hack.models.tiny import make_tiny


def main() -> None:
    """Make each model in a folder of its own below --out."""
    parser = argparse.ArgumentParser(prog="python -m hack.models", description="Write models.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    names = f"{', '.join(FAMILIES)} (default: all of these), {', '.join(CONFIGS)}"
    parser.add_argument("families", nargs="*", metavar="family", help=f"of {names}")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.families) - set(FAMILIES) - set(CONFIGS))
    if unknown:
        parser.error(f"no family called {', '.join(unknown)}; there are {names}")
    for family in arguments.families or FAMILIES:
        started = time.monotonic()
        make = make_published if family in CONFIGS else make_tiny
        directory = make(family, arguments.out / family)
        size = sum(file.stat().st_blocks * 512 for file in directory.iterdir())
        print(f"{directory}: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
