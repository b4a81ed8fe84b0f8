"""Files of the repository that are generated from the API types."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]


def write_or_check(files: Mapping[Path, str]) -> None:
    """Write the files that differ; with --check on the command line exit 1 if any differs."""
    parser = argparse.ArgumentParser(description="Write the files generated from the API types.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 if a file differs"
    )
    check = parser.parse_args().check
    stale = {
        path: text for path, text in files.items() if not path.exists() or path.read_text() != text
    }
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"{names} differs from operator/deepseek_operator/api: run `make generate`")
    for path, text in stale.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
