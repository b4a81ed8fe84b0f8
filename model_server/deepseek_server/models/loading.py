"""From a checkpoint to a model in memory."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from deepseek_server.config import ModelConfig
from deepseek_server.failures import PermanentError
from deepseek_server.lifecycle import Progress, readable_bytes
from deepseek_server.models.checkpoint import Checkpoint
from deepseek_server.models.codec import TokenizerCodec
from deepseek_server.models.defaults import eos_token_ids
from deepseek_server.resources import cpus, memory_available

log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory and what belongs to it."""

    model: PreTrainedModel
    codec: TokenizerCodec
    eos_token_ids: frozenset[int]
    context: int


def load(
    checkpoint: Checkpoint, config: ModelConfig, device: Device, progress: Progress
) -> LoadedModel:
    """Load a model onto a device.

    Raises:
        PermanentError: it does not fit the machine or the request; says why.
    """
    context = _context(checkpoint, config)
    _check_device(checkpoint, config, device)
    dtype = _dtype(checkpoint, config, device)
    size = checkpoint.bytes_as(DTYPES[dtype].itemsize)
    _check_memory(checkpoint, config, device, dtype)
    codec = TokenizerCodec(checkpoint.directory)
    if device == "cpu":
        torch.set_num_threads(cpus())
    log.info("loading %s as %s on %s, %s", config.id, dtype, device, readable_bytes(size))
    progress.begin(f"loading {config.id} as {dtype}", size)
    with _weights_reported(progress, size):
        model = _from_pretrained(checkpoint, config, device, DTYPES[dtype])
    model.eval()
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
            f"maxContext {config.max_context} is more than {config.id} was made for, "
            f"{checkpoint.context} tokens: lower maxContext to at most that, or leave it out"
        )
    return config.max_context


def _check_device(checkpoint: Checkpoint, config: ModelConfig, device: Device) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise PermanentError(
            "device cuda was asked for, but no usable NVIDIA GPU is visible here: give the pod a "
            "GPU and the node its driver, or use device cpu"
        )
    if device == "cpu" and checkpoint.quantization:
        raise PermanentError(
            f"the weights of {config.id} are quantised ({checkpoint.quantization}), which needs a "
            "GPU: give it one, or use an unquantised copy of the model"
        )


def _dtype(checkpoint: Checkpoint, config: ModelConfig, device: Device) -> str:
    """The type to compute in.

    `auto` keeps the checkpoint's type on a GPU (float16 in place of a bfloat16 that it cannot do).
    On a CPU it is float32: few of them multiply the short types any faster, most far slower.
    """
    if config.dtype != "auto":
        return config.dtype
    if device == "cpu":
        return "float32"
    dtype = checkpoint.dtype if checkpoint.dtype in DTYPES else "bfloat16"
    if dtype == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        return "float16"
    return dtype


def _check_memory(checkpoint: Checkpoint, config: ModelConfig, device: Device, dtype: str) -> None:
    """Refuse what cannot fit, before the kernel or the driver ends the attempt without a word."""
    needed = checkpoint.bytes_as(DTYPES[dtype].itemsize)
    if device == "cuda":
        free, where, remedy = torch.cuda.mem_get_info()[0], "on the GPU", "use a larger GPU"
    else:
        free, where, remedy = memory_available(), "here", "give the pod more memory"
    if needed <= free:
        return
    half = ""
    if DTYPES[dtype].itemsize > 2:
        half = f", set dtype bfloat16 (then {readable_bytes(checkpoint.bytes_as(2))})"
    raise PermanentError(
        f"the weights of {config.id} need {readable_bytes(needed)} of memory as {dtype}, but only "
        f"{readable_bytes(free)} are free {where}: {remedy}{half}, or choose a smaller model"
    )


def _from_pretrained(
    checkpoint: Checkpoint, config: ModelConfig, device: Device, dtype: torch.dtype
) -> PreTrainedModel:
    placement = {"device_map": {"": device}} if device != "cpu" else {}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            checkpoint.directory,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            **placement,
        )
    except Exception as error:  # the library raises whatever its model code does
        log.debug("loading failed", exc_info=True)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PermanentError(
            f"the files in {checkpoint.directory} cannot be loaded as a "
            f"{checkpoint.config['model_type']} model ({reason}): check that config.json and the "
            "weights belong to one model"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise PermanentError(
            f"the weights in {checkpoint.directory} lack {len(missing)} tensors that config.json "
            f"asks for, the first is {missing[0]}: check that both belong to one model"
        )
    return model


@contextmanager
def _weights_reported(progress: Progress, size: int) -> Iterator[None]:
    """While the block runs, transformers' bar over the tensors moves our progress instead."""

    def watch(_: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return _Watched(progress, size, *arguments, **options)

    previous = transformers.utils.logging.set_tqdm_hook(watch)
    try:
        yield
    finally:
        transformers.utils.logging.set_tqdm_hook(previous)


class _Watched(transformers.utils.logging.EmptyTqdm):  # type: ignore[misc]  # not typed
    """An iterable of tensors that reports how many of them are loaded, as bytes."""

    def __init__(
        self, progress: Progress, size: int, iterable: Iterable[Any] = (), **options: Any
    ) -> None:
        super().__init__(iterable, **options)
        self._items = list(iterable)
        self._progress, self._size = progress, size

    def __iter__(self) -> Iterator[Any]:
        for number, item in enumerate(self._items, start=1):
            yield item
            self._progress.reach(self._size * number // len(self._items))
