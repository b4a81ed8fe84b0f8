"""Write tiny models from the command line: `python -m tests.models --out DIR [family ...]`."""

import argparse
import time
from pathlib import Path

from tests.models.families import FAMILIES
from tests.models.tiny import make_tiny


def main() -> None:
    """Make each family's model in a folder of its own below --out."""
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "families", nargs="*", metavar="family", help=f"of {', '.join(FAMILIES)}; default: all"
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.families) - set(FAMILIES))
    if unknown:
        parser.error(f"no family called {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    for family in arguments.families or FAMILIES:
        started = time.monotonic()
        directory = make_tiny(family, arguments.out / family)
        size = sum(file.stat().st_size for file in directory.iterdir())
        print(f"{directory}: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
