"""Compare the router's kernel with transformers' router in Triton's interpreter.

TRITON_INTERPRET=1 python -m tests.unit.model_server.models.layers.router_interpreted
"""

import json

import torch
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from deepseek_server.kernels.triton.router import route

SHAPES = {
    "v3": {"n_group": 8, "topk_group": 4, "num_experts_per_tok": 8, "n_routed_experts": 256},
    "one group": {"n_group": 1, "topk_group": 1, "num_experts_per_tok": 6, "n_routed_experts": 64},
    "all groups": {"n_group": 4, "topk_group": 4, "num_experts_per_tok": 3, "n_routed_experts": 16},
}


def compare(shape: dict[str, int], normalised: bool) -> None:
    config = DeepseekV3Config(
        hidden_size=32, norm_topk_prob=normalised, routed_scaling_factor=2.5, **shape
    )
    router = DeepseekV3TopkRouter(config)
    torch.nn.init.normal_(router.weight)
    router.e_score_correction_bias.copy_(torch.randn(router.num_experts) / 4)
    with torch.no_grad():
        logits, shares, experts = router(torch.randn(7, 32))
        found_shares, found = route(
            logits,
            router.e_score_correction_bias,
            k=router.top_k,
            groups=router.num_group,
            kept_groups=router.topk_group,
            normalised=normalised,
            scaling=2.5,
        )
    order, found_order = experts.argsort(1), found.argsort(1)
    assert torch.equal(experts.gather(1, order), found.gather(1, found_order))
    torch.testing.assert_close(shares.gather(1, order), found_shares.gather(1, found_order))


if __name__ == "__main__":
    torch.manual_seed(0)
    for shape in SHAPES.values():
        for normalised in (True, False):
            compare(shape, normalised)
    print(json.dumps(list(SHAPES)))
