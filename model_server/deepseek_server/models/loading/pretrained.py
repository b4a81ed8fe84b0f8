"""Loading by transformers itself, for families whose checkpoints have other layouts."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from deepseek_server.errors import PermanentError
from deepseek_server.models.loading.checkpoint import Checkpoint
from deepseek_server.server.lifecycle import Progress

log = logging.getLogger(__name__)


def from_pretrained(
    checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, progress: Progress, size: int
) -> PreTrainedModel:
    """Load a model; report the loaded share of its tensors as bytes out of `size` to `progress`.

    Raises:
        PermanentError: transformers cannot load it, or tensors are missing; names the cause.
    """
    with _weights_reported(progress, size):
        return _load(checkpoint, device, dtype)


def _load(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    placement = {"device_map": {"": device}} if device.type != "cpu" else {}
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
            "weights belong to the same model"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise PermanentError(
            f"the weights in {checkpoint.directory} lack {len(missing)} tensors that config.json "
            f"requires, the first is {missing[0]}: check that both belong to the same model"
        )
    return model.eval()


@contextmanager
def _weights_reported(progress: Progress, size: int) -> Iterator[None]:
    """Report the progress of transformers' bar over the tensors while the block runs."""

    def watch(_: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return _Watched(progress, size, *arguments, **options)

    previous = transformers.utils.logging.set_tqdm_hook(watch)
    try:
        yield
    finally:
        transformers.utils.logging.set_tqdm_hook(previous)


class _Watched(transformers.utils.logging.EmptyTqdm):  # type: ignore[misc]  # not typed
    """An iterable of tensors that reports the loaded ones, as bytes."""

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
