"""Tensors on their way from the device to the CPU, without anybody waiting for them."""

import torch


class Arrival:
    """Copies tensors while the device goes on.

    Args:
        tensors: on one device. They may be changed once the device has made the copies.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if not tensors[0].is_cuda:
            self._there = tensors
            return
        self._there = tuple(
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(
                tensor, non_blocking=True
            )
            for tensor in tensors
        )
        self._event = torch.cuda.Event()
        self._event.record()

    def wait(self) -> tuple[torch.Tensor, ...]:
        """The tensors on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._there
