"""The kernels compiled ahead of time are all that a supported model needs, on every GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.errors import PermanentError
from deepseek_server.kernels.archs import Arch, arch_of, parse_archs
from deepseek_server.kernels.required import (
    COMMON,
    FAMILIES,
    Grouped,
    Kernel,
    Latent,
    all_kernels,
    attention_kernels,
    unknown,
)
from deepseek_server.models.registry import ARCHITECTURES

ARCHS = ["8.0", "8.6", "8.9", "9.0a", "10.0a", "12.0a"]


def names(archs: str) -> list[str]:
    return [str(kernel) for kernel in all_kernels(parse_archs(archs), ["bfloat16"])]


def test_every_family_on_the_paged_cache_has_its_heads_listed():
    paged = {name for name, known in ARCHITECTURES.items() if known.path != "compressed"}
    assert set(FAMILIES) == paged
    for name, shapes in FAMILIES.items():
        assert all(isinstance(s, Latent) == (ARCHITECTURES[name].path != "grouped") for s in shapes)


def test_flashinfer_can_compute_every_family():
    assert not [
        unknown(shape) for shapes in FAMILIES.values() for shape in shapes if unknown(shape)
    ]


def test_the_libraries_for_ampere():
    assert names("8.0") == [
        "decode 128 bfloat16",
        "gate",
        "latent fa2 512 64 bfloat16",
        "norm",
        "prefill fa2 128 bfloat16",
        "rope",
        "sampling",
    ]


def test_hopper_prefills_with_fa3_and_decodes_groups_with_fa2():
    assert names("9.0a") == [
        "decode 128 bfloat16",
        "gate",
        "latent fa3 512 64 bfloat16",
        "norm",
        "prefill fa2 128 bfloat16",
        "prefill fa3 128 bfloat16",
        "rope",
        "sampling",
    ]
    alone, grouped = Grouped(128, 1), Grouped(128, 8)
    assert Kernel("prefill", "fa2", "bfloat16", (128,)) not in on_hopper(alone)
    assert Kernel("prefill", "fa2", "bfloat16", (128,)) in on_hopper(grouped)
    assert Kernel("decode", "", "bfloat16", (128,)) not in on_hopper(grouped)


def on_hopper(shape: Grouped) -> frozenset[Kernel]:
    return attention_kernels(shape, "bfloat16", (9, 0))


@given(
    archs=st.lists(st.sampled_from(ARCHS), min_size=1),
    gpu=st.tuples(st.integers(8, 12), st.integers(0, 9)),
    family=st.sampled_from(sorted(FAMILIES)),
    dtypes=st.lists(st.sampled_from(["bfloat16", "float16"]), min_size=1, unique=True),
)
def test_a_gpu_that_runs_the_code_finds_all_kernels(archs, gpu, family, dtypes):
    compiled = parse_archs(",".join(archs))
    ahead = set(all_kernels(compiled, dtypes))
    if any(arch.runs_on(gpu) for arch in compiled):
        for shape in FAMILIES[family]:
            for dtype in dtypes:
                assert attention_kernels(shape, dtype, gpu) | COMMON <= ahead


def test_architectures_are_parsed_in_any_order_and_spelling():
    assert [str(arch) for arch in parse_archs("9.0, 8.0 10.0a,8.0")] == ["8.0", "9.0a", "10.0a"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the list of GPU architectures is empty"),
        ("sm_90", "sm_90 is not a GPU architecture: write for example 8.0"),
        ("8.0,7.5", "no kernels for GPU architecture 7.5: the oldest is 8.0"),
        ("8.0a", "8.0a does not exist: write 8.0"),
    ],
)
def test_refuses_unknown_architectures(text, sentence):
    with pytest.raises(PermanentError, match=sentence):
        parse_archs(text)


@pytest.mark.parametrize(
    ("arch", "gpu", "runs"),
    [
        (Arch(8, 0), (8, 0), True),
        (Arch(8, 0), (8, 9), True),
        (Arch(8, 9), (8, 6), False),
        (Arch(8, 9), (9, 0), False),
        (Arch(9, 0, exact=True), (9, 0), True),
        (Arch(10, 0, exact=True), (10, 3), False),
    ],
)
def test_gpus_that_run_code_of_another_architecture(arch, gpu, runs):
    assert arch.runs_on(gpu) is runs


@given(gpu=st.tuples(st.integers(8, 12), st.integers(0, 9)))
def test_a_gpu_runs_code_that_is_compiled_for_it(gpu):
    assert arch_of(gpu).runs_on(gpu)
    assert parse_archs(str(arch_of(gpu))) == (arch_of(gpu),)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Grouped(96, 1), "it has no kernel for heads of 96 values"),
        (Latent(256, 64), "it has no kernel for latents of 256 + 64 values"),
        (Grouped(64, 4), ""),
    ],
)
def test_heads_without_flashinfer_kernels(shape, reason):
    assert unknown(shape) == reason
