"""Entry point of the command, which reports missing packages."""

import sys


def main() -> None:
    """Run a command, or exit with the install command if a package is missing."""
    try:
        from deepseek_operator.cli.app import main as run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "celpy", "platformdirs", "psutil"):
            raise
        sys.exit(
            f"Error: the package {error.name} is missing. Install it with: pip install '.[cli]'"
        )
    run()
