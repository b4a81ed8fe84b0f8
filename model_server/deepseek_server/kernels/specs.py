"""FlashInfer's description of each kernel (JitSpec): its name, library path and compilation.

FlashInfer loads the libraries in its directory `data/aot` as they are. It runs ninja for all
others, even if they are already compiled.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from deepseek_server.kernels.archs import Arch, parse_archs
from deepseek_server.kernels.required import Dtype, Kernel

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# Positional encoding, window and logit cap: DeepSeek's models apply rotary embedding before
# attention and have no others.
_PLAIN = (0, False, False)
_RECORD = "compiled.json"


@dataclass(frozen=True)
class Compiled:
    """The record of a directory of compiled libraries.

    Attributes:
        archs: GPU architectures.
        dtypes: Types.
        flashinfer: FlashInfer's version.
        cuda: Version of the compiler.
    """

    archs: tuple[Arch, ...]
    dtypes: tuple[Dtype, ...]
    flashinfer: str
    cuda: str


def installed() -> Path:
    """Return the directory where FlashInfer looks for compiled kernels."""
    from flashinfer.jit import env

    return Path(env.FLASHINFER_AOT_DIR)


def read_record(folder: Path) -> Compiled | None:
    """Return the record of a directory of kernels; None if they are not from `build`."""
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
    """Write the record that `read_record` reads."""
    record = {**vars(compiled), "archs": [str(arch) for arch in compiled.archs]}
    (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n")


def spec_of(kernel: Kernel) -> Any:
    """Return FlashInfer's JitSpec of a kernel, the same that its functions use when called.

    Raises:
        ImportError: FlashInfer is not installed, or lacks a function that version 0.7 has.
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
    # The function that its wrapper calls if keys and values have the same layout, as in our cache;
    # it has no public name.
    primary = cast("Any", modules)._gen_batch_prefill_primary_module
    return primary("fa2", *types, *dims, *_PLAIN, False)
