"""Where the command begins, with and without the packages that it needs."""

import sys


def main() -> None:
    """Run a command, or say what has to be installed for that."""
    try:
        from deepseek_operator.cli.app import main as run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "celpy", "platformdirs", "psutil"):
            raise
        sys.exit(
            f"Error: {error.name} is missing. Install it with the command: pip install '.[cli]'"
        )
    run()
