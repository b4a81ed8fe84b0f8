"""One small configuration per model family: few and narrow layers, but every feature of the family.

The numbers are chosen so that no two dimensions are equal by accident (a swapped axis must fail)
and so that every head count is divisible by two (tensor parallel tests split them).
"""

from typing import Any

from transformers import (
    DeepseekV2Config,
    DeepseekV3Config,
    DeepseekV4Config,
    DeepseekV32Config,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

CONTEXT = 4096
TOKENS = 632
VOCABULARY = 640  # slightly larger than the tokenizer's, as in published models

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}

_YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": CONTEXT // 4,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}

_LATENT_ATTENTION: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": 48,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 40,
    "rope_parameters": _YARN,
}

_EXPERTS: dict[str, Any] = {
    "intermediate_size": 256,
    "moe_intermediate_size": 56,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
}

_GROUPED_QUERY: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}


def configuration(family: str) -> PreTrainedConfig:
    """Return the configuration of a family's tiny model.

    Raises:
        KeyError: the family is unknown.
    """
    return FAMILIES[family]()


FAMILIES = {
    "deepseek-v3": lambda: DeepseekV3Config(
        **_COMMON,
        **_LATENT_ATTENTION,
        **_EXPERTS,
        n_shared_experts=1,
        n_group=4,
        topk_group=2,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        num_nextn_predict_layers=0,
    ),
    "deepseek-v2": lambda: DeepseekV2Config(
        **_COMMON,
        **_LATENT_ATTENTION,
        **_EXPERTS,
        n_shared_experts=2,
        n_group=4,
        topk_group=2,
        topk_method="group_limited_greedy",
        routed_scaling_factor=1.5,
    ),
    "deepseek-v32": lambda: DeepseekV32Config(
        **_COMMON,
        **_LATENT_ATTENTION,
        **_EXPERTS,
        n_shared_experts=1,
        n_group=4,
        topk_group=2,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        # Fewer than the tokens of a test's prompt, so that the selection matters.
        index_topk=12,
        index_n_heads=16,  # with few heads many scores are exactly 0, and a tie is no test
        index_head_dim=24,
    ),
    "deepseek-v4": lambda: DeepseekV4Config(
        **_COMMON,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=32,
        partial_rotary_factor=0.5,
        q_lora_rank=48,
        o_groups=2,
        o_lora_rank=40,
        # One layer of each kind, and another one after all of them.
        layer_types=[
            "sliding_attention",
            "compressed_sparse_attention",
            "heavily_compressed_attention",
            "compressed_sparse_attention",
        ],
        sliding_window=20,
        compress_rates={"compressed_sparse_attention": 4, "heavily_compressed_attention": 14},
        index_topk=6,
        index_n_heads=16,  # with few heads many scores are exactly 0, and a tie is no test
        index_head_dim=24,
        moe_intermediate_size=56,
        n_routed_experts=8,
        num_experts_per_tok=3,
        n_shared_experts=1,
        mlp_layer_types=["hash_moe", "moe", "moe", "moe"],
        hc_mult=3,
        hc_sinkhorn_iters=4,
        rope_parameters={key: _YARN[key] for key in _YARN if "mscale" not in key},
    ),
    "llama": lambda: LlamaConfig(**_COMMON, **_GROUPED_QUERY),
    "qwen2": lambda: Qwen2Config(**_COMMON, **_GROUPED_QUERY),
    "qwen3": lambda: Qwen3Config(**_COMMON, **_GROUPED_QUERY, head_dim=24),
}

# Families that run on the paged cache and support tensor parallelism.
PAGED = tuple(family for family in FAMILIES if family != "deepseek-v4")
