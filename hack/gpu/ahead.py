"""Check that this GPU finds our kernels compiled ahead of time: `python -m hack.gpu.ahead`.

Compiles the kernels as the image build does, without the GPU; then launches all of them in another
process, once with and once without the compiled ones, and measures the time. Prints JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

PROGRAM = """
import json, sys, time
from pathlib import Path
import torch
from triton import knobs
from deepseek_server.kernels import aot
from deepseek_server.kernels.triton import fp8, mixture
from deepseek_server.kernels.triton.fp8_format import FP8

found = []
knobs.compilation.listener = lambda *, cache_hit, **_: found.append(cache_hit)
aot.use(Path(sys.argv[1]))
gate_up = torch.zeros(64, 2 * 1408, 2048, dtype=torch.bfloat16, device="cuda")
down = torch.zeros(64, 2048, 1408, dtype=torch.bfloat16, device="cuda")
started = time.monotonic()
mixture.warm(gate_up, down)
fp8.warm(gate_up.to(FP8), torch.zeros(64, 22, 16, device="cuda"), torch.bfloat16, False)
torch.cuda.synchronize()
seconds = time.monotonic() - started
print(json.dumps({"found": sum(found), "compiled": len(found) - sum(found), "seconds": seconds}))
"""


def launched(folder: Path, cache: Path) -> dict[str, float]:
    """Return the kernels that another process finds compiled, and its time to launch all."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**os.environ, "TRITON_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    from deepseek_server.kernels.aot import compile_ahead
    from deepseek_server.kernels.archs import arch_of

    arch = arch_of(torch.cuda.get_device_capability())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started = time.monotonic()
        kernels = compile_ahead([arch], ["bfloat16"], folder / "image")
        seconds = time.monotonic() - started
        result = {
            "compiled ahead": {"arch": str(arch), "kernels": kernels, "seconds": seconds},
            "with them": launched(folder / "image", folder / "first"),
            "without": launched(folder / "nothing", folder / "second"),
        }
    print(json.dumps(result, indent=1))
    if result["with them"]["compiled"]:
        raise SystemExit("kernels were compiled again although all were compiled ahead of time")


if __name__ == "__main__":
    main()
