"""Check that FlashInfer finds all kernels compiled; needs no GPU."""

import logging
import os

from deepseek_server.errors import PermanentError
from deepseek_server.kernels import aot as ahead
from deepseek_server.kernels import launcher
from deepseek_server.kernels.required import all_kernels
from deepseek_server.kernels.specs import installed, read_record, spec_of

log = logging.getLogger(__name__)


def check() -> None:
    """Check and log the compiled kernels.

    Raises:
        PermanentError: a kernel is missing that a supported family needs on one of the GPU
            architectures that the kernels were compiled for.
    """
    # FlashInfer requires an architecture even to look for files.
    os.environ.setdefault("FLASHINFER_CUDA_ARCH_LIST", "8.0")
    try:
        import flashinfer
    except ImportError as error:
        raise PermanentError(f"FlashInfer cannot be imported ({error}): install it") from error
    folder = installed()
    record = read_record(folder)
    if record is None:
        raise PermanentError(f"{folder} contains no compiled kernels: run the command build")
    if record.flashinfer != flashinfer.__version__:
        raise PermanentError(
            f"the kernels in {folder} are of FlashInfer {record.flashinfer}, but version "
            f"{flashinfer.__version__} is installed: run the command build again"
        )
    kernels = all_kernels(record.archs, record.dtypes)
    missing = [str(kernel) for kernel in kernels if not spec_of(kernel).is_aot]
    if not launcher.library(folder).exists():
        missing.append("Triton's launcher")
    if not ahead.folder(folder).is_dir():
        missing.append("the Triton kernels of this project")
    if missing:
        names = "; ".join(missing)
        raise PermanentError(f"{folder} lacks {names}: run the command build again")
    archs = " ".join(map(str, record.archs))
    log.info("%s: %d kernels for %s, nothing to compile", folder, len(kernels), archs)
