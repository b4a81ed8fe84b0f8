"""The shapes of published models, so that they can be measured without their weights.

How fast a model runs depends on its shapes, not on what it has learnt. The numbers are those of
each repository's config.json on the model hub: deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B and -7B,
deepseek-ai/DeepSeek-R1-Distill-Llama-8B, deepseek-ai/DeepSeek-V2-Lite. `tiny` is nobody's: a
model for machines without a GPU.
"""

from copy import deepcopy
from typing import Any

_COMMON: dict[str, Any] = {
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}

_QWEN: dict[str, Any] = {
    **_COMMON,
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "bos_token_id": 151646,
    "eos_token_id": 151643,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "sliding_window": 4096,
    "use_sliding_window": False,
}

_PROFILES: dict[str, dict[str, Any]] = {
    "tiny": {
        **_QWEN,
        "bos_token_id": 2040,
        "eos_token_id": 2041,
        "hidden_size": 256,
        "intermediate_size": 688,
        "max_position_embeddings": 4096,
        "max_window_layers": 4,
        "num_attention_heads": 8,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "vocab_size": 2048,
    },
    "qwen-1.5b": {
        **_QWEN,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "max_window_layers": 21,
        "num_attention_heads": 12,
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
    },
    "qwen-7b": {
        **_QWEN,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "max_window_layers": 28,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
    "llama-8b": {
        **_COMMON,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 128000,
        "eos_token_id": 128001,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "vocab_size": 128256,
    },
    "v2-lite": {
        **_COMMON,
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "attention_bias": False,
        "bos_token_id": 100000,
        "eos_token_id": 100001,
        "first_k_dense_replace": 1,
        "hidden_size": 2048,
        "intermediate_size": 10944,
        "kv_lora_rank": 512,
        "max_position_embeddings": 163840,
        "moe_intermediate_size": 1408,
        "moe_layer_freq": 1,
        "n_group": 1,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "norm_topk_prob": False,
        "num_attention_heads": 16,
        "num_experts_per_tok": 6,
        "num_hidden_layers": 27,
        "num_key_value_heads": 16,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000,
        "rope_scaling": {
            "type": "yarn",
            "factor": 40,
            "original_max_position_embeddings": 4096,
            "beta_fast": 32,
            "beta_slow": 1,
            "mscale": 0.707,
            "mscale_all_dim": 0.707,
        },
        "routed_scaling_factor": 1.0,
        "scoring_func": "softmax",
        "topk_group": 1,
        "topk_method": "greedy",
        "v_head_dim": 128,
        "vocab_size": 102400,
    },
}

NAMES = tuple(_PROFILES)
SHORT = {"1.5b": "qwen-1.5b", "7b": "qwen-7b", "8b": "llama-8b"}


def named(text: str) -> str:
    """A profile's name, from that or a shorter one.

    Raises:
        ValueError: there is no such profile.
    """
    name = SHORT.get(text, text)
    if name not in _PROFILES:
        raise ValueError(f"no profile is called {text!r}: there are {', '.join(NAMES)}")
    return name


def configuration(name: str, layers: int | None = None) -> dict[str, Any]:
    """The content of a profile's config.json.

    Args:
        name: of the profile, one of NAMES.
        layers: how many layers in place of the model's own number.

    Raises:
        KeyError: there is no such profile.
    """
    config = deepcopy(_PROFILES[name])
    if layers is not None:
        config["num_hidden_layers"] = layers
    return config
