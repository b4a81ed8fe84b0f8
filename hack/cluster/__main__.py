"""`python -m hack.cluster up|down|status|build`: commands for the cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hack.cluster import parts, toolchain
from hack.cluster.embedded import DEFAULT_STATE
from hack.cluster.faults import ClusterError
from hack.cluster.images import istio_proxy
from hack.cluster.machine import packages
from hack.cluster.machine.store import DEFAULT_STORE
from hack.cluster.progress import say
from hack.cluster.target import Target, open_target


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 if `status` finds no cluster; 2 if something is missing.
    """
    options = _parse(arguments)
    try:
        if options.command == "build":
            names = parts.expand(options.parts.split(","))
            artefacts = toolchain.build([*parts.groups_of(names), "helm"])
            if "istio" in names:
                packages.ensure(["istio"])
                istio_proxy.build(artefacts["istio"])
            return 0
        target = open_target(state=options.state, store=options.store)
        if options.command == "down":
            target.down()
            say("the cluster is down")
            return 0
        if options.command == "status":
            return _status(target)
        target.up(
            options.parts.split(","),
            gpus=options.gpus,
            kwok_nodes=options.kwok_nodes,
            egress=options.egress,
        )
        say(f"export KUBECONFIG={target.kubeconfig}")
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hack.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the cluster, or add missing parts to a running one")
    down = commands.add_parser(
        "down", help="stop the cluster; images and built programs stay in the cache"
    )
    status = commands.add_parser(
        "status", help="show the running components; exit status 1 if no cluster runs"
    )
    build = commands.add_parser(
        "build", help="build the programs of the parts without starting them"
    )
    for command in (up, build):
        command.add_argument(
            "--parts",
            default=",".join(parts.DEFAULT),
            metavar="A,B",
            help=f"of {', '.join(parts.PARTS)} (default: %(default)s)",
        )
    up.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs that the real node advertises (default: 4)"
    )
    up.add_argument("--kwok-nodes", type=int, metavar="N", help="minimum number of fake GPU nodes")
    up.add_argument(
        "--egress", action="store_true", help="let pods reach the networks that this host reaches"
    )
    for command in (up, down, status):
        command.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR")
        command.add_argument("--store", default=DEFAULT_STORE, metavar="NAME", help="of images")
    return parser.parse_args(arguments)


def _status(target: Target) -> int:
    for line in target.describe():
        print(line)
    return 0 if target.is_up() else 1


if __name__ == "__main__":
    sys.exit(main())
