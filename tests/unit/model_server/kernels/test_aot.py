"""Our own kernels are compiled ahead of time without a GPU and not compiled again."""

import json
import os
import subprocess
import sys
from pathlib import Path

# In separate processes, because Triton caches kernels in memory. The smallest experts of one type
# suffice; all of them take half a minute.
PROGRAM = """
import json, sys
from pathlib import Path
from triton import knobs
from deepseek_server.kernels import aot
from deepseek_server.kernels.archs import parse_archs
from deepseek_server.kernels.triton import mixture

found = []
knobs.compilation.listener = lambda *, cache_hit, **_: found.append(cache_hit)
aot.EXPERTS, aot.WIDTHS, mixture.AVERAGES = (4,), (64,), (1,)
if sys.argv[2] != "-":
    aot.use(Path(sys.argv[2]))
aot.compile_ahead(parse_archs(sys.argv[1]), ("bfloat16",), Path(sys.argv[3]))
print(json.dumps(found))
"""


def launched(archs: str, before: Path | None, out: Path) -> list[bool]:
    """Return for each kernel whether it was found."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, archs, str(before or "-"), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[bool] = json.loads(done.stdout)
    return found


def test_kernels_compiled_ahead_are_found_after_a_move(tmp_path: Path) -> None:
    assert launched("8.0", None, tmp_path / "built") == [False] * 4
    (tmp_path / "built").rename(tmp_path / "image")
    # Only the files that Triton reads are kept.
    files = {path.suffix for path in (tmp_path / "image").rglob("*") if path.is_file()}
    assert files == {".cubin", ".json"}
    assert launched("8.0", tmp_path / "image", tmp_path / "pod") == [True] * 4
    # Another GPU only costs compile time.
    assert launched("8.9", tmp_path / "image", tmp_path / "pod") == [False] * 4
