"""The architectures that are served, which models have them, and how each is computed."""

from dataclasses import dataclass
from typing import Literal

# latent: on the paged cache, MLA absorbed over its latents (models.mla)
# sparse: the same over the tokens that an indexer chooses (models.layers.sparse)
# grouped: on the paged cache, grouped-query attention
# compressed: entries on the paged cache, and rings of last tokens (models.layers.compressed)
# whole: for windows in other architectures, a cache per sequence, one sequence after the other (models.whole)
Path = Literal["latent", "sparse", "grouped", "compressed", "whole"]


@dataclass(frozen=True)
class Architecture:
    """What is known of a model_type.

    Attributes:
        models: The DeepSeek models that have it.
        path: How its attention is computed.
    """

    models: str
    path: Path


# model_type in config.json -> what is known of it
ARCHITECTURES = {
    "deepseek_v2": Architecture("DeepSeek-V2, V2-Lite, V2.5, Coder-V2", "latent"),
    "deepseek_v3": Architecture("DeepSeek-V3, V3.1, R1, Prover-V2-671B", "latent"),
    "deepseek_v32": Architecture("DeepSeek-V3.2", "sparse"),
    "deepseek_v4": Architecture("DeepSeek-V4", "compressed"),
    "llama": Architecture("DeepSeek-LLM, Coder, Math, Prover (7B), R1-Distill-Llama", "grouped"),
    "qwen2": Architecture("R1-Distill-Qwen", "grouped"),
    "qwen3": Architecture("R1-0528-Qwen3", "grouped"),
}
