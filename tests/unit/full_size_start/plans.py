"""Load plans for DeepSeek-V3, and their expected figures."""

import re
from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

from deepseek_server.models.layers import fp8_modules
from deepseek_server.models.loading import loading
from deepseek_server.models.loading import meta_model as skeleton
from deepseek_server.models.loading import weight_plan as layout
from deepseek_server.models.loading.checkpoint import Checkpoint
from deepseek_server.models.loading.weight_plan import Parameter, Read
from hack.models.published.configs import CONFIGS
from hack.models.published.tensors import Tensor, tensors
from tests.unit.full_size_start.ranks import Rank

LAST_LAYER = "model.layers.61."
# Matrices of which each rank needs some rows. Of matrices of which it needs some columns it reads all
# rows: a part of a row is shorter than a memory page, so a disk could not skip the others.
ROWS = re.compile(r".*\.((q_b|kv_b|gate|up)_proj\.weight(_scale_inv)?)|lm_head\.weight")
# Scales that are multiplied into the values while these are read; they are not counted.
MULTIPLIED_IN = re.compile(r".*\.kv_b_proj\.weight_scale_inv")
# By number of ranks: bytes that a rank reads, and bytes of its part of the model with fp8 weights.
READ = {8: 284_893_756_768, 16: 257_161_142_112}
KEPT = {8: 86_889_714_208, 16: 44_940_852_928}


def needed() -> Iterator[Tensor]:
    """Yield the served tensors: all except those of the multi-token prediction layer."""
    every = tensors(CONFIGS["DeepSeek-V3"])
    return (tensor for tensor in every if not tensor.name.startswith(LAST_LAYER))


def parameters_of(
    checkpoint: Checkpoint, rank: int = 0, size: int = 8
) -> tuple[list[Parameter], PreTrainedModel]:
    """Return the parameters of a rank's part on an H100 or H200, and the model on meta."""
    model = skeleton.build(checkpoint, torch.bfloat16)
    fp8_modules.keep(model, checkpoint.tensors, False, rank, size)
    return loading._parameters(model, Rank(rank, size)), model


def plan_of(checkpoint: Checkpoint, rank: int, size: int) -> tuple[list[Read], PreTrainedModel]:
    """Return the reads of a rank, and its model on the meta device."""
    parameters, model = parameters_of(checkpoint, rank, size)
    return layout.reads(parameters, checkpoint.tensors, checkpoint.config), model
