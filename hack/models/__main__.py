"""Write models from the command line: `python -m hack.models --out DIR [family ...]`.

Models of families are tiny. Names of CONFIGS (such as DeepSeek-V3) are published models at their
real size, in sparse files without weights that need only some megabytes of disk.
"""

import argparse
import time
from pathlib import Path

from hack.models.families import FAMILIES
from hack.models.published.configs import CONFIGS
from hack.models.published.shards import make_published
from hack.models.tiny import make_tiny


def main() -> None:
    """Write each model into its own folder below --out."""
    parser = argparse.ArgumentParser(prog="python -m hack.models", description="Write models.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    names = f"{', '.join(FAMILIES)} (default: all of these), {', '.join(CONFIGS)}"
    parser.add_argument("families", nargs="*", metavar="family", help=f"of {names}")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.families) - set(FAMILIES) - set(CONFIGS))
    if unknown:
        parser.error(f"unknown family {', '.join(unknown)}: write one of {names}")
    for family in arguments.families or FAMILIES:
        started = time.monotonic()
        make = make_published if family in CONFIGS else make_tiny
        directory = make(family, arguments.out / family)
        size = sum(file.stat().st_blocks * 512 for file in directory.iterdir())
        print(f"{directory}: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
