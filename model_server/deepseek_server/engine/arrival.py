"""Asynchronous copies of tensors from the device to the CPU."""

import torch


class AsyncCopy:
    """An asynchronous copy of tensors.

    Args:
        tensors: tensors on one device. They may be changed once the device has copied them.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if not tensors[0].is_cuda:
            self._on_cpu = tensors
            return
        self._on_cpu = tuple(
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(
                tensor, non_blocking=True
            )
            for tensor in tensors
        )
        self._event = torch.cuda.Event()
        self._event.record()

    def wait(self) -> tuple[torch.Tensor, ...]:
        """Wait for the copies and return the tensors on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._on_cpu
