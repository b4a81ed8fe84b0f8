"""How long a start may take, from the bytes that have to be moved.

The model server is held to it only where it stands still: a start that takes longer but gets on is
left alone (model_server/deepseek_server/server/lifecycle.py). So the rates here are those of slow but
healthy places, and nobody has to declare his own.
"""

import math
from typing import Literal

Place = Literal["hub", "claim", "hostPath"]

# Bytes per second at which weights come. hub: a line of 200 Mbit/s for the download (the disk then
# is faster). claim, hostPath: what a gp3 volume of AWS has without extra provisioning, 125 MiB/s
# (https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html, as of 2026-11); network
# file systems and disks of nodes are rarely slower.
RATES: dict[Place, float] = {"hub": 25e6, "claim": 125 * 2**20, "hostPath": 125 * 2**20}
# Reading what was downloaded from the node's disk into memory.
DISK = 125 * 2**20
# For imports, kernels, CUDA graphs, the measurement of the cache, and the warm-up.
FIXED_SECONDS = 300
# Others use line and disk too.
MARGIN = 2.0
# No start is hurried, and none may stand still for longer than a day after all.
FLOOR_SECONDS, CAP_SECONDS = 900, 86_400
# Where the size is unknown: enough for 450 GB from a volume.
UNKNOWN_SECONDS = 7200


def start_seconds(weight_bytes: int | None, place: Place) -> int:
    """Seconds that a start may take in which nothing seems to happen.

    Args:
        weight_bytes: Bytes of the model's files, None where that is unknown.
        place: Where they come from.
    """
    if weight_bytes is None:
        return UNKNOWN_SECONDS
    moving = weight_bytes / RATES[place] + (weight_bytes / DISK if place == "hub" else 0)
    return min(max(math.ceil(MARGIN * moving + FIXED_SECONDS), FLOOR_SECONDS), CAP_SECONDS)
