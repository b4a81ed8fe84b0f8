"""Loading of a checkpoint into a model in memory."""

import logging
import os
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedModel

from deepseek_server.config import ModelConfig
from deepseek_server.distributed import sharding
from deepseek_server.distributed.process_group import SINGLE_PROCESS, Group
from deepseek_server.distributed.sharding import Part
from deepseek_server.distributed.tensor_parallel import split
from deepseek_server.errors import PermanentError
from deepseek_server.kernels import launcher
from deepseek_server.kernels.triton.fp8_format import FP8
from deepseek_server.models.defaults import eos_token_ids
from deepseek_server.models.layers import fp8, fp8_modules
from deepseek_server.models.loading import meta_model as skeleton
from deepseek_server.models.loading import weight_plan as layout
from deepseek_server.models.loading import weights
from deepseek_server.models.loading.checkpoint import Checkpoint
from deepseek_server.models.loading.pretrained import from_pretrained
from deepseek_server.models.tokenizer import TokenizerCodec
from deepseek_server.resources import cpus, memory_available
from deepseek_server.server.lifecycle import Progress, readable_bytes

log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]
# Architectures whose transformers code mixes types in a way that fails with float16.
_NOT_IN_FLOAT16 = frozenset({"deepseek_v4"})
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with its tokenizer, end tokens and context length."""

    model: PreTrainedModel
    codec: TokenizerCodec
    eos_token_ids: frozenset[int]
    context: int


def load(
    checkpoint: Checkpoint,
    config: ModelConfig,
    device: Device,
    progress: Progress,
    group: Group = SINGLE_PROCESS,
) -> LoadedModel:
    """Load a model, or this rank's part of it, onto a device.

    Args:
        checkpoint: The model's files.
        config: The requested settings.
        device: On CUDA, the process's current GPU.
        progress: Receives the bytes read so far.
        group: The ranks that compute the model together.

    Raises:
        PermanentError: The model does not fit the machine or the settings; states the cause.
    """
    context = _context(checkpoint, config)
    _check_device(checkpoint, config, device)
    sharding.check(checkpoint.config, group.size)
    dtype = _dtype(checkpoint, config, device)
    sharding.check_experts(checkpoint.config, group.size, getattr(torch, dtype).itemsize)
    codec = TokenizerCodec(checkpoint.directory)
    if device == "cpu" and "OMP_NUM_THREADS" not in os.environ:  # torch honours that by itself
        torch.set_num_threads(cpus())
    if checkpoint.config["model_type"] in layout.MODEL_TYPES:
        model = _streamed(checkpoint, config, device, dtype, progress, group)
    else:
        model = _pretrained(checkpoint, config, device, dtype, progress)
    return LoadedModel(
        model=model,
        codec=codec,
        eos_token_ids=eos_token_ids(checkpoint.directory, checkpoint.config, codec.eos_token_id),
        context=context,
    )


def _context(checkpoint: Checkpoint, config: ModelConfig) -> int:
    if config.max_context is None:
        return checkpoint.context
    if config.max_context > checkpoint.context:
        raise PermanentError(
            f"maxContext {config.max_context} exceeds the context length of {config.id}, "
            f"{checkpoint.context} tokens: lower maxContext to at most that, or omit it"
        )
    return config.max_context


def _check_device(checkpoint: Checkpoint, config: ModelConfig, device: Device) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise PermanentError(
            "device is cuda, but no usable NVIDIA GPU is visible: give the pod a GPU and install "
            "the NVIDIA driver on the node, or set device to cpu"
        )
    if checkpoint.config["model_type"] in layout.MODEL_TYPES:
        fp8.check(checkpoint.config, config.id)
    elif device == "cpu" and checkpoint.quantization:
        raise PermanentError(
            f"the weights of {config.id} are quantised ({checkpoint.quantization}), which requires "
            f"a GPU for a {checkpoint.config['model_type']} model: run it on a GPU, or use an "
            "unquantised copy of the model"
        )


def _dtype(checkpoint: Checkpoint, config: ModelConfig, device: Device) -> str:
    """Return the type to compute in.

    `auto` keeps the checkpoint's type on a GPU (float16 where the GPU does not support bfloat16).
    On a CPU it is float32: few CPUs multiply 16-bit types any faster, most are far slower.

    Raises:
        PermanentError: The model's class has parts in other types, which do not mix with this one.
    """
    dtype = _wanted_dtype(checkpoint, config, device)
    if dtype == "float16" and checkpoint.config["model_type"] in _NOT_IN_FLOAT16:
        raise PermanentError(
            f"{config.id} does not support float16: set dtype to bfloat16 or float32, and use a "
            "GPU of the Ampere generation or newer"
        )
    return dtype


def _wanted_dtype(checkpoint: Checkpoint, config: ModelConfig, device: Device) -> str:
    if config.dtype != "auto":
        return config.dtype
    if device == "cpu":
        return "float32"
    dtype = checkpoint.dtype if checkpoint.dtype in DTYPES else "bfloat16"
    if dtype == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        return "float16"
    return dtype


def _streamed(
    checkpoint: Checkpoint,
    config: ModelConfig,
    device: Device,
    dtype: str,
    progress: Progress,
    group: Group,
) -> PreTrainedModel:
    progress.begin(f"reading the structure of {config.id}")
    model = skeleton.build(checkpoint, DTYPES[dtype])
    if checkpoint.quantization:
        _keep_packed(model, checkpoint, config, device, dtype, group)
    parameters = _parameters(model, group)
    reads = layout.reads(parameters, checkpoint.tensors, checkpoint.config)
    _check_memory(skeleton.size(model), config, device, dtype)
    _begin(config, device, dtype, weights.size(reads), progress)
    skeleton.allocate(model, torch.device(device))
    weights.stream(reads, skeleton.stored_tensors(model), progress)
    return model


def _parameters(model: PreTrainedModel, group: Group) -> list[layout.Parameter]:
    """Split the model for this rank; return the parameters that the checkpoint has to provide."""
    whole = skeleton.stored_tensors(model)
    parts = split(model, group)
    return [
        layout.Parameter(
            name,
            tuple(tensor.shape),
            parts.get(name) or Part.whole(tuple(tensor.shape)),
            packed=tensor.dtype == FP8,
        )
        for name, tensor in whole.items()
    ]


def _keep_packed(
    model: PreTrainedModel,
    checkpoint: Checkpoint,
    config: ModelConfig,
    device: Device,
    dtype: str,
    group: Group,
) -> None:
    """Keep weights in fp8 where the device can multiply in fp8, and log the decision."""
    if not fp8_modules.native(torch.device(device)) or not launcher.provide():
        log.info(
            "the fp8 weights of %s are converted to %s: this device has no fp8 matrix product",
            config.id,
            dtype,
        )
        return
    powers = fp8.powers_of_two(checkpoint.config)
    kept = fp8_modules.keep(model, checkpoint.tensors, powers, group.rank, group.size)
    log.info("%d modules of %s keep their fp8 weights", kept, config.id)


def _pretrained(
    checkpoint: Checkpoint, config: ModelConfig, device: Device, dtype: str, progress: Progress
) -> PreTrainedModel:
    size = checkpoint.bytes_as(DTYPES[dtype].itemsize)
    _check_memory(size, config, device, dtype)
    _begin(config, device, dtype, size, progress)
    return from_pretrained(checkpoint, torch.device(device), DTYPES[dtype], progress, size)


def _begin(config: ModelConfig, device: Device, dtype: str, size: int, progress: Progress) -> None:
    log.info("loading %s as %s on %s, %s", config.id, dtype, device, readable_bytes(size))
    progress.begin(f"loading {config.id} as {dtype}", size)


def _check_memory(needed: int, config: ModelConfig, device: Device, dtype: str) -> None:
    """Refuse weights that cannot fit, before the OOM killer or the driver ends the process."""
    if device == "cuda":
        free, where, remedy = torch.cuda.mem_get_info()[0], "on the GPU", "use a larger GPU"
    else:
        free, where, remedy = memory_available(), "here", "give the pod more memory"
    if needed <= free:
        return
    half = ""
    if DTYPES[dtype].itemsize > 2:
        half = f", set dtype to bfloat16 (which needs {readable_bytes(needed / 2)})"
    raise PermanentError(
        f"the weights of {config.id} need {readable_bytes(needed)} of memory as {dtype}, but only "
        f"{readable_bytes(free)} are free {where}: {remedy}{half}, or choose a smaller model"
    )
