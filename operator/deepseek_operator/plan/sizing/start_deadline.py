"""Start deadline of a model server, from the bytes that it has to transfer.

The model server applies it only to a stalled start: a start that takes longer but makes progress is
left alone (model_server/deepseek_server/server/lifecycle.py). So the rates here are those of slow but healthy
sources, and users don't have to configure their own.
"""

import math
from typing import Literal

SourceKind = Literal["hub", "claim", "hostPath"]

# Bytes per second by source of the weights. hub: a download at 200 Mbit/s (the disk is faster than
# that). claim, hostPath: an AWS gp3 volume without extra provisioning, 125 MiB/s
# (https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html, as of 2026-11); network
# file systems and disks of nodes are rarely slower.
RATES: dict[SourceKind, float] = {"hub": 25e6, "claim": 125 * 2**20, "hostPath": 125 * 2**20}
# Reading downloaded files from the node's disk into memory.
DISK = 125 * 2**20
# For imports, kernels, CUDA graphs, the measurement of the cache, and the warm-up.
FIXED_SECONDS = 300
# Network and disk are shared with others.
MARGIN = 2.0
# A start always has 15 minutes, and never more than a day without progress.
FLOOR_SECONDS, CAP_SECONDS = 900, 86_400
# Where the size is unknown: enough for 450 GB from a volume.
UNKNOWN_SECONDS = 7200


def start_seconds(weight_bytes: int | None, source_kind: SourceKind) -> int:
    """Return the seconds that a start may take without visible progress.

    Args:
        weight_bytes: Bytes of the model's files, None if unknown.
        source_kind: Source of the files.
    """
    if weight_bytes is None:
        return UNKNOWN_SECONDS
    moving = weight_bytes / RATES[source_kind] + (
        weight_bytes / DISK if source_kind == "hub" else 0
    )
    return min(max(math.ceil(MARGIN * moving + FIXED_SECONDS), FLOOR_SECONDS), CAP_SECONDS)
