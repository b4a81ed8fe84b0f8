"""The cache of one sequence in transformers' own form, together with the model."""

from collections.abc import MutableMapping

import torch
from transformers import DynamicCache, PreTrainedModel


class SequenceCache:
    """A model's cache of one sequence.

    Args:
        model: any causal language model that accepts a DynamicCache of its configuration.

    Attributes:
        length: number of cached tokens.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.length = 0
        self._model = model
        self._cache = DynamicCache(config=model.config)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the cache uses."""
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for holder in self._holders()
            for tensor in holder.values()
            if isinstance(tensor, torch.Tensor)
        }
        return sum(storages.values())

    def extend(self, tokens: torch.Tensor) -> torch.Tensor:
        """Compute the next tokens.

        Args:
            tokens: [n], int64, on the model's device.

        Returns:
            Logits after the last of them: [1, vocabulary].
        """
        end = self.length + len(tokens)
        positions = torch.arange(self.length, end, device=tokens.device)
        with torch.inference_mode():
            output = self._model(
                input_ids=tokens[None],
                position_ids=positions[None],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
            if len(tokens) > 1:
                self._compact()
        self.length = end
        logits: torch.Tensor = output.logits[0]
        return logits

    def _compact(self) -> None:
        """Copy views that cover a small part of a large tensor, such as a window after a prompt.

        The view would keep the whole tensor in memory.
        """
        copies: dict[int, torch.Tensor] = {}  # keys and values may be one and the same
        for holder in self._holders():
            for name, tensor in holder.items():
                if not isinstance(tensor, torch.Tensor):
                    continue
                if tensor.untyped_storage().nbytes() > tensor.nbytes:
                    holder[name] = copies.setdefault(id(tensor), tensor.clone())

    def _holders(self) -> list[MutableMapping[str, object]]:
        """Return the mappings that hold the layers' tensors: attributes and nested dictionaries."""
        layers = [vars(layer) for layer in self._cache.layers]
        inner = [v for layer in layers for v in layer.values() if isinstance(v, dict)]
        return layers + inner
