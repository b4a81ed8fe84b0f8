"""Check at startup that kernels can run without being compiled first."""

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
    """Return the reason why kernels cannot run on this process's GPU, "" if they can.

    If a compiler is installed and FLASHINFER_DISABLE_JIT is not set, missing kernels are compiled
    on first use; a warning is logged.

    Args:
        kernels: The needed kernels.
        capability: The GPU's compute capability.
    """
    try:
        import flashinfer  # noqa: F401 - only to check that it can be imported
    except (ImportError, OSError, RuntimeError) as error:  # a broken package fails in many ways
        return f"the package flashinfer-python cannot be imported ({error})"
    folder = installed()
    record = read_record(folder)
    # FlashInfer would load these on any GPU and fail at the first call.
    if record and not any(arch.runs_on(capability) for arch in record.archs):
        archs = ", ".join(map(str, record.archs))
        return f"the kernels in {folder} are for GPU architectures {archs}: {_remedy(capability)}"
    missing = [spec for kernel in sorted(kernels) if not (spec := spec_of(kernel)).is_aot]
    if not missing:
        return ""
    if can_compile():
        log.warning(
            "%d of FlashInfer's kernels are not in %s: they will be compiled on first use, which "
            "takes minutes",
            *(len(missing), folder),
        )
        return ""
    return f"{missing[0].aot_path} is missing: {_remedy(capability)}"


def can_compile() -> bool:
    """Return whether FlashInfer may compile here and the tools for it are installed."""
    if os.environ.get("FLASHINFER_DISABLE_JIT"):
        return False
    return toolkit.find() is not None and all(map(shutil.which, ("ninja", "c++")))


def _remedy(capability: Capability) -> str:
    return f"build the image with CUDA_ARCHS={arch_of(capability)}"
