"""On what a model runs: against what was published, what was measured, and what must always hold."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.catalog.accelerators import Profile, accelerators
from deepseek_operator.catalog.models import Model, models
from deepseek_operator.catalog.shape import NUMBERS
from deepseek_operator.plan import misfit
from deepseek_operator.plan.checks import Refusal
from deepseek_operator.plan.fit import LEAST_CONTEXT, compute_type, computes, smallest
from deepseek_operator.plan.memory import Memory
from deepseek_operator.plan.observed import ConfigFile, NodeView, Observed
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.status import condition
from deepseek_operator.plan.target import Target
from tests.unit.operator.resources import NOW, SETTINGS, node, resource

H200 = {"nvidia.com/gpu.product": "NVIDIA-H200"}
L4 = {"nvidia.com/gpu.product": "NVIDIA-L4"}
QWEN_7B = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
QWEN_32B = "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"


def known(name: str) -> Model:
    model = models().get(f"deepseek-ai/{name}")
    assert model is not None
    return model


def decided(
    model: str,
    nodes: list[dict[str, Any]] | None = None,
    status: dict[str, Any] | None = None,
    config: ConfigFile | None = None,
    asked: dict[str, Any] | None = None,
    **accelerator: Any,
) -> Target | Refusal:
    body = resource(status, model={"id": model, **(asked or {})}, accelerator=accelerator)
    observed = Observed(nodes=tuple(map(NodeView.of, nodes or [])), config=config)
    return decide(body, SETTINGS, observed)


def target(*args: Any, **accelerator: Any) -> Target:
    decision = decided(*args, **accelerator)
    assert isinstance(decision, Target), decision
    return decision


def refusal(*args: Any, **accelerator: Any) -> Refusal:
    decision = decided(*args, **accelerator)
    assert isinstance(decision, Refusal), decision
    return decision


# Model, kind, and the least number of GPUs that somebody recommends or that arithmetic allows.
# docs/sizing.md has the sources.
PUBLISHED = [
    ("DeepSeek-V2-Lite", "nvidia-a100-40gb", 1),  # its model card
    ("DeepSeek-V2.5", "nvidia-a100-80gb", 8),  # its model card, for bf16
    ("DeepSeek-V2.5", "nvidia-h100", 8),
    ("DeepSeek-V3", "nvidia-h200", 8),  # SGLang's documentation, fp8
    ("DeepSeek-R1", "nvidia-h200", 8),
    ("DeepSeek-V3.1", "nvidia-b200", 8),
    ("DeepSeek-V3", "amd-mi300x", 8),
    ("DeepSeek-R1-Distill-Qwen-1.5B", "nvidia-t4", 1),
    ("DeepSeek-R1-Distill-Qwen-7B", "nvidia-l4", 1),  # 24 GB
    ("DeepSeek-R1-Distill-Llama-8B", "nvidia-a10g", 1),  # 24 GB
    ("DeepSeek-R1-Distill-Qwen-14B", "nvidia-a100-40gb", 1),  # 40 GB
    ("DeepSeek-R1-Distill-Qwen-32B", "nvidia-h100", 1),
    ("DeepSeek-R1-Distill-Qwen-32B", "nvidia-l4", 4),
    ("DeepSeek-R1-Distill-Qwen-32B", "nvidia-a10g", 4),
    ("DeepSeek-R1-Distill-Llama-70B", "nvidia-h200", 2),
]
# Kinds of which one node is too small: SGLang's documentation wants several.
TOO_SMALL = [
    ("DeepSeek-V3", "nvidia-h100"),
    ("DeepSeek-V3", "nvidia-a100-80gb"),
    ("DeepSeek-R1", "nvidia-l40s"),
    ("DeepSeek-V4-Pro", "nvidia-b200"),
]


@pytest.mark.parametrize(("name", "kind", "count"), PUBLISHED)
def test_the_least_is_what_others_say_it_is(name: str, kind: str, count: int) -> None:
    gpus = target(f"deepseek-ai/{name}", profile=kind).gpus
    assert gpus is not None
    assert (gpus.profile, gpus.count) == (kind, count)


@pytest.mark.parametrize(("name", "kind"), TOO_SMALL)
def test_more_than_a_node_is_refused(name: str, kind: str) -> None:
    said = refusal(f"deepseek-ai/{name}", profile=kind)
    assert said.reason == misfit.DOES_NOT_FIT
    assert "GB" in said.message


# Tokens that the server's cache held on one H100 of 80 GB, with torch's attention and 8192 tokens
# in a step, 2026-11-25: models of these shapes in bfloat16, loaded by models/capacity.py.
MEASURED = {
    "DeepSeek-R1-Distill-Qwen-1.5B": 39_067 * 64,
    "DeepSeek-R1-Distill-Qwen-7B": 16_445 * 64,
    "DeepSeek-R1-Distill-Llama-8B": 7_068 * 64,
}


@pytest.mark.parametrize("name", MEASURED)
def test_a_cache_is_at_most_two_percent_smaller_than_measured_and_never_larger(name: str) -> None:
    memory = Memory(known(name), accelerators().profiles["nvidia-h100"], 1, "bfloat16", False)
    assert 0.98 * MEASURED[name] <= memory.longest <= MEASURED[name]


# Bytes of weights and of the largest step on one H100, 2026-11-25: each the first of so many
# processes, in bfloat16, without the others; latent attention left out.
SPLIT = [
    ("DeepSeek-R1-Distill-Qwen-7B", 2, 8_161_605_632, 704_970_752),
    ("DeepSeek-R1-Distill-Qwen-7B", 4, 4_626_157_568, 471_924_736),
    ("DeepSeek-V2-Lite", 1, 31_494_758_400, 643_891_200),
    ("DeepSeek-V2-Lite", 2, 15_970_590_720, 443_908_608),
    ("DeepSeek-V3", 4, None, 1_605_567_488),  # two layers of it, both with experts
    ("DeepSeek-V3", 8, None, 1_572_013_056),
]


@pytest.mark.parametrize(("name", "gpus", "weights", "step"), SPLIT)
def test_parts_and_steps_take_what_was_measured(
    name: str, gpus: int, weights: int | None, step: int
) -> None:
    memory = Memory(known(name), accelerators().profiles["nvidia-a100-80gb"], gpus, "bfloat16")
    assert weights is None or memory.weights == pytest.approx(weights, rel=0.003)
    assert 0.98 * step <= memory.step <= 1.10 * step


NAMES = [name for name in models() if models().get(name) is not None]
KINDS = sorted(accelerators().profiles)
DTYPES = ["auto", "bfloat16", "float16", "float32"]


@given(
    st.sampled_from(NAMES),
    st.sampled_from(KINDS),
    st.sampled_from(DTYPES),
    st.none() | st.integers(1, 20),
    st.none() | st.integers(16, 200_000),
)
@settings(max_examples=300, deadline=None)
def test_what_is_carried_out_fits_and_what_is_refused_names_what_is_not(
    name: str, kind: str, dtype: str, count: int | None, context: int | None
) -> None:
    asked: dict[str, Any] = {"dtype": dtype, "maxContext": context}
    decision = decided(name, asked=asked, profile=kind, count=count)
    if isinstance(decision, Target):
        memory = decision.sizing.memory
        assert memory is not None
        assert memory.gpus == (count or memory.gpus) == decision.config.get("tensorParallel", 1)
        used = memory.reserved + memory.weights + memory.cache + memory.step
        assert used <= memory.total
        assert not any(number % memory.gpus for number in memory.model.shape.divided.values())
        assert memory.requests(decision.sizing.context or 0) >= 1
        if context:
            assert decision.config["model"]["maxContext"] == context <= memory.context
        return
    for asked_anew, accelerator in ways_out(decision, asked, {"profile": kind, "count": count}):
        assert isinstance(decided(name, asked=asked_anew, **accelerator), Target), decision.message


def ways_out(
    refused: Refusal, asked: dict[str, Any], accelerator: dict[str, Any]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What a message tells a person to write instead, written."""
    message = refused.message
    if refused.reason == misfit.CONTEXT_TOO_LONG:
        # Shorter is no longer too long, but may still not fit.
        return []
    if found := re.search(r"Set model\.dtype to ([a-z0-9 ]+),", message):
        types = found[1].split(" or ")
        assert asked["dtype"] not in types
        return []
    if "set accelerator.count to 1" in message:
        return []
    _, _, ways = message.partition("What would fit: ")
    assert ways or "No kind of GPU in the catalogue" in message
    result = []
    for way in ways.rstrip(".").split(", or ") if ways else []:
        if number := re.fullmatch(r"accelerator\.count (\d+)", way):
            result.append((asked, {**accelerator, "count": int(number[1])}))
        elif number := re.fullmatch(r"model\.maxContext (\d+)", way):
            result.append(({**asked, "maxContext": int(number[1])}, accelerator))
        else:
            number = re.fullmatch(r"(\d+) x (\S+)", way)
            assert number, way
            result.append((asked, {"profile": number[2], "count": int(number[1])}))
    return result


@given(
    st.sampled_from(NAMES),
    st.sampled_from(KINDS),
    st.sampled_from(DTYPES),
    st.integers(1, 100_000),
    st.integers(16, 131_072),
)
@settings(max_examples=200, deadline=None)
def test_more_memory_never_takes_more_gpus_nor_holds_less(
    name: str, kind: str, dtype: str, more: int, context: int
) -> None:
    model, small = models().get(name), accelerators().profiles[kind]
    assert model is not None
    large = small.model_copy(update={"memory_mib": small.memory_mib + more})
    dtype = compute_type(dtype, model, small)
    if not computes(model, small, dtype):
        return

    def fewest(profile: Profile) -> Memory | None:
        counts = range(1, profile.together + 1)
        options = (Memory(model, profile, n, dtype) for n in counts if model.shape.splits(n))
        return next((memory for memory in options if memory.context >= context), None)

    with_less, with_more = fewest(small), fewest(large)
    assert with_less == smallest(model, kind, dtype, context)
    if with_less is not None:
        assert with_more is not None
        assert with_more.gpus <= with_less.gpus
        same = Memory(model, large, with_less.gpus, dtype)
        assert same.longest >= with_less.longest
        assert same.requests(context) >= with_less.requests(context)


def test_the_server_is_told_what_was_found_out() -> None:
    made = target(QWEN_32B, profile="nvidia-l4")
    config = made.config
    assert config["tensorParallel"] == 4
    assert config["device"] == "cuda"
    assert config["model"]["dtype"] == "bfloat16"
    assert config["model"]["maxContext"] % 1024 == 0
    assert LEAST_CONTEXT <= config["model"]["maxContext"] < 131_072
    assert str(made.gpus) == "4 x nvidia-l4"


def test_a_context_that_fits_whole_is_the_models_own_and_one_gpu_shares_nothing() -> None:
    config = target(QWEN_7B, profile="nvidia-h200").config
    assert config["model"]["maxContext"] is None
    assert "tensorParallel" not in config


def test_a_gpu_without_bfloat16_computes_in_float16() -> None:
    made = target(QWEN_7B, profile="nvidia-t4")
    assert made.config["model"]["dtype"] == "float16"
    said = refusal(QWEN_7B, asked={"dtype": "bfloat16"}, profile="nvidia-t4")
    assert said.reason == misfit.TYPE_UNSUPPORTED
    assert "Set model.dtype to float16 or float32" in said.message
    said = refusal("deepseek-ai/DeepSeek-V4-Flash", profile="nvidia-t4")
    assert "can't be computed in float16" in said.message


def test_what_a_person_reads_of_a_model_that_is_too_large() -> None:
    said = refusal(QWEN_32B, [node("a", 8, **H200)], profile="nvidia-l4", count=2)
    assert said.message == (
        f"{QWEN_32B} does not fit on 2 x nvidia-l4. Each GPU has 24.2 GB: the driver and the "
        "libraries keep 2.6 GB, the weights take 33.5 GB, the largest step 1.0 GB; that leaves "
        "nothing for the cache of requests. What would fit: accelerator.count 4, or "
        "1 x nvidia-h200, or 1 x nvidia-h100, or 1 x nvidia-a100-80gb."
    )


def test_a_context_that_does_not_fit_is_told_what_does() -> None:
    said = refusal(QWEN_32B, asked={"maxContext": 131_072}, profile="nvidia-h100", count=1)
    assert said.reason == misfit.DOES_NOT_FIT
    assert "and 131072 are wanted" in said.message
    assert "accelerator.count 2" in said.message
    assert re.search(r"model\.maxContext 4\d{4}, or", said.message)


def test_a_context_longer_than_the_model_is_refused_on_a_cpu_too() -> None:
    body = resource(model={"id": QWEN_7B, "maxContext": 200_000})
    said = decide(body, SETTINGS, Observed())
    assert isinstance(said, Refusal)
    assert said.reason == misfit.CONTEXT_TOO_LONG
    assert "Set it to 131072 or less" in said.message


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [
        ("DeepSeek-R1-Distill-Qwen-7B", 3, "3 does not divide its 28 attention heads"),
        ("DeepSeek-R1-Distill-Qwen-7B", 3, "accelerator.count 1, or accelerator.count 2, or"),
        ("deepseek-coder-5.7bmqa-base", 2, "its 1 key-value heads"),
        ("DeepSeek-V3", 128, "shares a model among 64 at most"),
        ("DeepSeek-V3.2", 8, "does not split deepseek_v32 models over several GPUs"),
    ],
)
@pytest.mark.parametrize("kind", [{}, {"profile": "nvidia-h200"}])
def test_a_number_of_gpus_that_cannot_share_a_model(
    name: str, count: int, words: str, kind: dict[str, str]
) -> None:
    said = refusal(f"deepseek-ai/{name}", count=count, **kind)
    assert said.reason == misfit.UNEVEN_SPLIT
    assert words in said.message


def test_slices_of_gpus_serve_alone() -> None:
    made = target("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", profile="nvidia-h100-mig-3g.40gb")
    assert made.gpus is not None
    assert (made.gpus.resource, made.gpus.count) == ("nvidia.com/mig-3g.40gb", 1)
    said = refusal(QWEN_7B, profile="nvidia-h100-mig-3g.40gb", count=2)
    assert "Slices of a GPU can't send each other anything" in said.message


# Several acceptable kinds.

BOTH = ["nvidia-h200", "nvidia-l4"]


def chosen(nodes: list[dict[str, Any]], status: dict[str, Any] | None = None) -> str:
    return str(target(QWEN_32B, nodes, status, profiles=BOTH).gpus)


def test_the_first_kind_of_which_there_are_nodes_is_taken() -> None:
    h200, l4 = node("a", 8, **H200), node("b", 8, **L4)
    assert chosen([h200, l4]) == "1 x nvidia-h200"
    assert chosen([l4]) == "4 x nvidia-l4"
    assert chosen([]) == "1 x nvidia-h200"
    assert chosen([node("b", 2, **L4)]) == "1 x nvidia-h200", "the nodes have too few"


def test_a_choice_stays_while_it_has_nodes() -> None:
    h200, l4 = node("a", 8, **H200), node("b", 8, **L4)
    made = target(QWEN_32B, [l4], profiles=BOTH)
    body = resource(model={"id": QWEN_32B}, accelerator={"profiles": BOTH})
    status = report(body, made, Observed(), NOW).status
    assert status["resolved"]["profile"] == "nvidia-l4"
    assert chosen([h200, l4], status) == "4 x nvidia-l4"
    assert chosen([h200], status) == "1 x nvidia-h200"
    assert chosen([], status) == "4 x nvidia-l4"


def test_a_kind_that_is_too_small_is_passed_over_and_all_of_them_are_told() -> None:
    made = target("deepseek-ai/DeepSeek-R1", profiles=["nvidia-h100", "nvidia-h200"])
    assert str(made.gpus) == "8 x nvidia-h200"
    said = refusal("deepseek-ai/DeepSeek-R1", profiles=["nvidia-h100", "nvidia-l4"])
    assert "does not fit on 8 x nvidia-h100" in said.message
    assert "does not fit on 8 x nvidia-l4" in said.message
    assert "8 x nvidia-h200" in said.message


# A number of GPUs of no kind.


def test_nodes_tell_what_their_gpus_hold_and_pods_do_not_change_with_them() -> None:
    with_nodes = target(QWEN_7B, [node("a", 8, **H200)], count=1)
    without = target(QWEN_7B, count=1)
    assert with_nodes.config == without.config
    assert with_nodes.sizing.memory is not None
    assert without.sizing.memory is None
    assert "no node tells by its labels" in without.sizing.note


def test_no_node_holds_it() -> None:
    said = refusal("deepseek-ai/DeepSeek-R1", [node("a", 8, **L4), node("b", 8, **H200)], count=1)
    assert "does not fit on 1 x nvidia-h200" in said.message
    assert "does not fit on 1 x nvidia-l4" in said.message
    assert isinstance(decided("deepseek-ai/DeepSeek-R1", [node("a", 8)], count=8), Target)


def test_some_nodes_hold_it() -> None:
    made = target(QWEN_32B, [node("a", 8, **L4), node("b", 8, **H200)], count=1)
    assert "It does not fit on nodes with nvidia-l4" in made.sizing.note


# Models that the catalogue does not have.

FILE = ConfigFile("", "someone/tuned", "main")
CONFIG = {
    "model_type": "qwen2",
    "max_position_embeddings": 32_768,
    "vocab_size": 152_064,
    "hidden_size": 5120,
    "intermediate_size": 27_648,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "torch_dtype": "bfloat16",
}


def read(**changes: Any) -> ConfigFile:
    return ConfigFile("", "someone/tuned", "main", content={**CONFIG, **changes})


def test_the_models_own_config_json_sizes_it() -> None:
    made = target("someone/tuned", profile="nvidia-l4", config=read())
    assert str(made.gpus) == "4 x nvidia-l4"
    assert not made.sizing.note


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (None, "from the hub of its installation alone"),
        (ConfigFile("", "someone/tuned", "main", problem="the hub says 404"), "the hub says 404"),
        (read(model_type="mamba"), "does not serve model_type 'mamba'"),
        (read(hidden_size=None), "does not say hidden_size"),
        (read(quantization_config={"quant_method": "awq"}), "packed in a way of their own (awq)"),
    ],
)
def test_what_cannot_be_known_is_carried_out_and_said(config: ConfigFile | None, why: str) -> None:
    made = target("someone/tuned", profile="nvidia-l4", config=config)
    assert str(made.gpus) == "1 x nvidia-l4"
    body = resource(model={"id": "someone/tuned"}, accelerator={"profile": "nvidia-l4"})
    said = condition(report(body, made, Observed(), NOW).status, "Accepted")
    assert said["status"] == "True"
    assert "Whether the model fits was not checked" in said["message"]
    assert why in said["message"]


def test_a_volume_is_not_read() -> None:
    source = {"source": {"pvc": {"claimName": "models"}}}
    made = target("v3", asked=source, profile="nvidia-h200", count=8)
    assert "does not read weights on a volume" in made.sizing.note
    assert made.config["tensorParallel"] == 8


def test_a_config_json_that_is_out_of_reach_does_not_change_what_runs() -> None:
    body = resource(model={"id": "someone/tuned"}, accelerator={"profile": "nvidia-l4"})
    before = target("someone/tuned", profile="nvidia-l4", config=read())
    status = report(body, before, Observed(), NOW).status
    after = target("someone/tuned", status=status, profile="nvidia-l4", config=None)
    assert after.config == before.config
    assert after.gpus == before.gpus


def test_a_choice_and_a_size_outlive_an_edit_of_something_else() -> None:
    kinds = {"profiles": ["nvidia-h200", "nvidia-l4"]}
    body = resource(model={"id": "someone/tuned"}, accelerator=kinds)
    l4, h200 = node("b", 8, **L4), node("a", 8, **H200)
    before = target("someone/tuned", [l4], config=read(), **kinds)
    status = report(body, before, Observed(), NOW).status
    assert status["resolved"]["profile"] == "nvidia-l4"
    edited = resource(
        status, generation=2, model={"id": "someone/tuned"}, accelerator=kinds, replicas=3
    )
    nodes = tuple(map(NodeView.of, (h200, l4)))
    after = decide(edited, SETTINGS, Observed(nodes=nodes))
    assert isinstance(after, Target)
    assert after.config == before.config
    assert after.gpus == before.gpus
    assert report(edited, after, Observed(), NOW).status["resolved"] == status["resolved"]


def test_what_was_resolved_for_another_model_says_nothing() -> None:
    body = resource(model={"id": "someone/tuned"}, accelerator={"profile": "nvidia-l4"})
    before = target("someone/tuned", profile="nvidia-l4", config=read())
    status = report(body, before, Observed(), NOW).status
    other = target("someone/other", status=status, profile="nvidia-l4")
    assert str(other.gpus) == "1 x nvidia-l4"
    assert other.config["model"]["maxContext"] is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
FIELDS = [*NUMBERS, "layer_types", "compress_ratios", "compress_rates", "quantization_config"]
TYPES = ["llama", "qwen2", "deepseek_v3", "deepseek_v32", "deepseek_v4"]
KNOWN = [known(name) for name in ("DeepSeek-V3.2", "DeepSeek-V4-Flash", "deepseek-llm-7b-base")]


@given(
    st.sampled_from(KNOWN),
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from([*FIELDS, "torch_dtype", "use_sliding_window"]), JSON),
    st.none() | st.integers(1, 8),
)
@settings(max_examples=400, deadline=None)
def test_whatever_a_config_json_holds_there_is_an_answer(
    model: Model, model_type: str, changes: dict[str, Any], count: int | None
) -> None:
    content = {**model.shape.config, "model_type": model_type, **changes}
    file = ConfigFile("", "someone/tuned", "main", content=content)
    decision = decided("someone/tuned", config=file, profile="nvidia-b200", count=count)
    assert isinstance(decision, Target | Refusal)
    if isinstance(decision, Target):
        body = resource(model={"id": "someone/tuned"}, accelerator={"profile": "nvidia-b200"})
        assert report(body, decision, Observed(), NOW).status["resolved"]["tensorParallel"] >= 1


def test_the_status_says_what_was_resolved() -> None:
    body = resource(model={"id": QWEN_32B}, accelerator={"profile": "nvidia-h100"})
    status = report(body, target(QWEN_32B, profile="nvidia-h100"), Observed(), NOW).status
    resolved = status["resolved"]
    assert resolved["accelerator"] == "1 x nvidia-h100"
    assert resolved["tensorParallel"] == 1
    assert resolved["dtype"] == "bfloat16"
    assert resolved["weightBytesPerGpu"] == pytest.approx(65.5e9, rel=0.01)
    assert 0 < resolved["cacheBytesPerGpu"] < 20e9
    assert 40_000 < resolved["maxContext"] < 50_000
    assert re.fullmatch(
        r"requests at once: 1 of 4\d,\d{3} tokens, or 1\d of 4,096 tokens", resolved["concurrency"]
    )
