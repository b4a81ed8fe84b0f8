"""Whether kernels can run at once, asked before the first request needs them."""

import logging
import os
import shutil
from collections.abc import Iterable

from deepseek_server.kernels import toolkit
from deepseek_server.kernels.archs import Capability, arch_of
from deepseek_server.kernels.required import Kernel
from deepseek_server.kernels.specs import installed, read_record, spec_of

log = logging.getLogger(__name__)


def lacking(kernels: Iterable[Kernel], capability: Capability) -> str:
    """Why kernels cannot run on the GPU of this process; empty where they can.

    Where a compiler is installed and FLASHINFER_DISABLE_JIT is not set, kernels that are missing
    can be had, only later: then it says so in the log.

    Args:
        kernels: What is needed.
        capability: The GPU's.
    """
    try:
        import flashinfer  # noqa: F401 - only whether it is there
    except (ImportError, OSError, RuntimeError) as error:  # a broken one says it in many ways
        return f"the package flashinfer-python cannot be imported ({error})"
    folder = installed()
    record = read_record(folder)
    # FlashInfer would load these whatever the GPU, and fail at the first call.
    if record and not any(arch.runs_on(capability) for arch in record.archs):
        archs = ", ".join(map(str, record.archs))
        return f"the kernels in {folder} are for GPUs of {archs}: {_remedy(capability)}"
    missing = [spec for kernel in sorted(kernels) if not (spec := spec_of(kernel)).is_aot]
    if not missing:
        return ""
    if can_compile():
        log.warning(
            "%d of FlashInfer's kernels are not in %s and are compiled when first used, which takes "
            "minutes",
            *(len(missing), folder),
        )
        return ""
    return f"{missing[0].aot_path} is missing: {_remedy(capability)}"


def can_compile() -> bool:
    """Whether FlashInfer may compile here, and has what it takes."""
    if os.environ.get("FLASHINFER_DISABLE_JIT"):
        return False
    return toolkit.find() is not None and all(map(shutil.which, ("ninja", "c++")))


def _remedy(capability: Capability) -> str:
    return f"build the image with CUDA_ARCHS={arch_of(capability)}"
