"""The supported architectures, the models that have them, and how each is computed."""

from dataclasses import dataclass
from typing import Literal

# latent: on the paged cache, MLA absorbed over its latents (models.mla)
# sparse: the same over the tokens that an indexer selects (models.layers.sparse)
# grouped: on the paged cache, grouped-query attention
# compressed: compressed entries on the paged cache, ring buffers for the last tokens
#   (models.layers.compressed)
# whole: for sliding windows in other architectures, a cache per sequence, computed one sequence
#   after the other (models.whole)
Path = Literal["latent", "sparse", "grouped", "compressed", "whole"]


@dataclass(frozen=True)
class Architecture:
    """Properties of a model_type.

    Attributes:
        models: The DeepSeek models of this type.
        path: The way in which its attention is computed.
    """

    models: str
    path: Path


# model_type in config.json -> its properties
ARCHITECTURES = {
    "deepseek_v2": Architecture("DeepSeek-V2, V2-Lite, V2.5, Coder-V2", "latent"),
    "deepseek_v3": Architecture("DeepSeek-V3, V3.1, R1, Prover-V2-671B", "latent"),
    "deepseek_v32": Architecture("DeepSeek-V3.2", "sparse"),
    "deepseek_v4": Architecture("DeepSeek-V4", "compressed"),
    "llama": Architecture("DeepSeek-LLM, Coder, Math, Prover (7B), R1-Distill-Llama", "grouped"),
    "qwen2": Architecture("R1-Distill-Qwen", "grouped"),
    "qwen3": Architecture("R1-0528-Qwen3", "grouped"),
}
