"""The architectures that are served, and which models have them."""

# model_type in config.json -> the DeepSeek models that have it
ARCHITECTURES = {
    "deepseek_v2": "DeepSeek-V2, V2-Lite, V2.5",
    "deepseek_v3": "DeepSeek-V3, V3.1, R1",
    "llama": "DeepSeek-LLM, DeepSeek-Coder, R1-Distill-Llama",
    "qwen2": "R1-Distill-Qwen",
    "qwen3": "R1-0528-Qwen3",
}
