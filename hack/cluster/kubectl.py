"""kubectl of the cluster in use, as a function."""

from __future__ import annotations

import subprocess

from hack.cluster.faults import ClusterError
from hack.cluster.target import Target


def kubectl(target: Target, *arguments: str, text: str | None = None) -> str:
    """Run kubectl and return what it prints.

    Args:
        target: The cluster.
        arguments: Subcommand and flags.
        text: Standard input, for `-f -`.

    Raises:
        ClusterError: kubectl failed; contains its error output.
    """
    result = subprocess.run(
        [target.kubectl, "--kubeconfig", target.kubeconfig, *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout
