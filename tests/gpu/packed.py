"""A DeepSeek-V3 in fp8 blocks, through the whole engine: `python -m tests.gpu.packed`.

The model is small, with random weights, but with the heads and blocks of the real one. Its logits
are compared with those of the same engine on the CPU, where modules in eight bits compute by the
reference in float32. Random weights spread every rounding, and a router turns it into another
choice of experts; so the error of the unpacked weights in bfloat16 stands beside it for scale.
"""

import json
import tempfile
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, DeepseekV3Config

from deepseek_server.config import ModelConfig
from deepseek_server.kernels import launcher
from deepseek_server.lifecycle import Progress
from deepseek_server.models import fp8_modules
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.checkpoint import inspect
from deepseek_server.models.loading import load
from tests.gpu import same_logits
from tests.models.packing import pack
from tests.models.tiny import fill, make_tokenizer

# With so little said in each layer, another choice of experts makes little difference.
DAMPING = 0.3
Logits = list[torch.Tensor]

CONFIG = {
    "vocab_size": 4096,
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "moe_intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": 384,
    "n_routed_experts": 32,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "max_position_embeddings": 4096,
}


def write(directory: Path) -> None:
    model = AutoModelForCausalLM.from_config(DeepseekV3Config(**CONFIG), dtype=torch.float32)
    fill(model, "packed")
    for name, parameter in model.named_parameters():
        if ".layers." in name and parameter.ndim > 1:
            parameter.data *= DAMPING
    model.to(torch.bfloat16).save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)


def write_meant(source: Path, target: Path) -> None:
    """Pack a model, and write beside it what the packed weights stand for."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    meant = pack(source)
    file = target / "model.safetensors"
    tensors = {name: tensor.float() for name, tensor in load_file(file).items()}
    save_file(tensors | meant, file, metadata={"format": "pt"})


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        packed, meant = Path(temporary) / "packed", Path(temporary) / "meant"
        write(packed)
        write_meant(packed, meant)
        draw = torch.Generator().manual_seed(1)
        rows = [
            torch.randint(5, 4096, (length + same_logits.STEPS - 1,), generator=draw).tolist()
            for length in same_logits.PROMPTS
        ]
        exact = same_logits.plain(same_logits.load(meant, torch.float32), rows)
        short = same_logits.plain(same_logits.load(meant, torch.bfloat16), rows)
        ours = engine(packed, "cuda", rows)
        with (
            patch.object(fp8_modules, "native", lambda device: True),
            patch.object(launcher, "provide", lambda: True),
        ):
            reference = engine(packed, "cpu", rows)
    result = {
        "bfloat16": same_logits.error(short, exact),
        "ours": same_logits.error(ours, reference),
    }
    print(json.dumps(result))
    worst, allowed = max(result["ours"]), 2 * max(result["bfloat16"])
    if worst > allowed:
        raise SystemExit(f"the error is {worst}, more than {allowed}")


def engine(directory: Path, device: Literal["cpu", "cuda"], rows: list[list[int]]) -> Logits:
    """Logits of the whole engine, with modules in eight bits."""
    model = load(inspect(directory), ModelConfig(id="packed"), device, Progress()).model
    assert any(isinstance(module, fp8_modules.Fp8Experts) for module in model.modules())
    runner = paged_runner(model, context=4096, step_tokens=2048, sequences=16)
    return [logits.cuda() for logits in same_logits.paged(runner, rows)]


if __name__ == "__main__":
    main()
