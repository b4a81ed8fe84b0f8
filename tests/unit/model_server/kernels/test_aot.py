"""Our own kernels are compiled without a GPU, and found instead of being compiled again."""

import json
import os
import subprocess
import sys
from pathlib import Path

# In processes of their own: Triton remembers what it has compiled. The smallest experts of one
# number are enough, all of them take half a minute.
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
    """For each kernel whether it was found."""
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


def test_what_was_compiled_ahead_is_found_wherever_it_was_moved(tmp_path: Path) -> None:
    assert launched("8.0", None, tmp_path / "built") == [False] * 4
    (tmp_path / "built").rename(tmp_path / "image")
    # Without its leftovers: what Triton reads is there, and nothing else.
    files = {path.suffix for path in (tmp_path / "image").rglob("*") if path.is_file()}
    assert files == {".cubin", ".json"}
    assert launched("8.0", tmp_path / "image", tmp_path / "pod") == [True] * 4
    # A GPU that was not thought of costs time, no more.
    assert launched("8.9", tmp_path / "image", tmp_path / "pod") == [False] * 4
