"""`make images`: build the two images where their sources have changed, and push them."""

import argparse
import sys

from hack.cluster.faults import ClusterError
from hack.cluster.images.build import build_ahead, built_images
from hack.cluster.progress import say


def main() -> int:
    """Build, push, and print the references."""
    parser = argparse.ArgumentParser(prog="python -m hack.cluster.images", description=__doc__)
    parser.add_argument("--ahead", action="store_true", help="only build, before a cluster runs")
    try:
        if parser.parse_args().ahead:
            build_ahead()
            return 0
        images = built_images()
    except ClusterError as error:
        say(str(error))
        return 2
    print(images.operator)
    print(images.server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
