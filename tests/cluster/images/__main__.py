"""`make images`: build the two images where their sources have changed, and push them."""

import sys

from tests.cluster.faults import ClusterError
from tests.cluster.images.build import built_images
from tests.cluster.progress import say


def main() -> int:
    """Build, push, and print the references."""
    try:
        images = built_images()
    except ClusterError as error:
        say(str(error))
        return 2
    print(images.operator)
    print(images.server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
