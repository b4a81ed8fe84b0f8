"""FlashInfer's own description of each kernel: its name, where its library is, how it is compiled.

The libraries that FlashInfer finds in its folder `data/aot` it loads as they are. All others it
hands to ninja, even those that it has compiled before.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from deepseek_server.kernels.archs import Arch, parse_archs
from deepseek_server.kernels.required import Dtype, Kernel

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# Positions, window and cap of logits: DeepSeek's models rotate before attention and have no others.
_PLAIN = (0, False, False)
_RECORD = "compiled.json"


@dataclass(frozen=True)
class Compiled:
    """What the libraries of a folder were compiled for.

    Attributes:
        archs: GPUs.
        dtypes: Numbers.
        flashinfer: FlashInfer's version.
        cuda: Version of the compiler.
    """

    archs: tuple[Arch, ...]
    dtypes: tuple[Dtype, ...]
    flashinfer: str
    cuda: str


def installed() -> Path:
    """The folder where FlashInfer looks for compiled kernels."""
    from flashinfer.jit import env

    return Path(env.FLASHINFER_AOT_DIR)


def read_record(folder: Path) -> Compiled | None:
    """What the kernels of a folder are for; None if `build` has not made them."""
    try:
        record = json.loads((folder / _RECORD).read_text())
    except FileNotFoundError:
        return None
    return Compiled(
        archs=parse_archs(",".join(record["archs"])),
        dtypes=tuple(record["dtypes"]),
        flashinfer=record["flashinfer"],
        cuda=record["cuda"],
    )


def write_record(folder: Path, compiled: Compiled) -> None:
    """Leave in a folder what `read_record` reads."""
    record = {**vars(compiled), "archs": [str(arch) for arch in compiled.archs]}
    (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n")


def spec_of(kernel: Kernel) -> Any:
    """A JitSpec of FlashInfer, the same that its functions make when they are called.

    Raises:
        ImportError: FlashInfer is not installed, or lacks what it had in 0.7.
    """
    from flashinfer import jit
    from flashinfer.jit.norm import gen_norm_module
    from flashinfer.jit.rope import gen_rope_module
    from flashinfer.jit.sampling import gen_sampling_module

    match kernel.purpose:
        case "norm":
            return gen_norm_module()
        case "gate":
            return jit.gen_act_and_mul_module("silu")
        case "rope":
            return gen_rope_module()
        case "sampling":
            return gen_sampling_module()
    return _attention_spec(kernel)


def _attention_spec(kernel: Kernel) -> Any:
    from flashinfer import jit
    from flashinfer.jit.attention import modules

    dtype = _DTYPES[kernel.dtype or "bfloat16"]
    types = (dtype, dtype, dtype, torch.int32)
    if kernel.purpose == "latent":
        return jit.gen_batch_mla_module(kernel.backend, *types, *kernel.dims, False)
    dims = kernel.dims * 2  # of keys and of values
    if kernel.purpose == "decode":
        return jit.gen_batch_decode_module(*types, *dims, *_PLAIN)
    if kernel.backend == "fa3":
        return jit.gen_batch_prefill_module("fa3", *types, *dims, *_PLAIN, False)
    # What its wrapper takes where keys and values lie alike, as in our cache; it has no public name.
    primary = cast("Any", modules)._gen_batch_prefill_primary_module
    return primary("fa2", *types, *dims, *_PLAIN, False)
