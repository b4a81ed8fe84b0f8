"""The sources of each image, and the keys that decide whether it has to be rebuilt.

Keys are hashes of content, not of times: the same tree gives the same image reference on every
machine, and a Deployment changes exactly when the content of its image has changed.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
TOOLS_LOCK = REPOSITORY / "tests/requirements.lock"
APP_STAGE = "\nFROM python AS app"
KERNELS_STAGE = "\nFROM ${DEPENDENCIES} AS kernels"
# Python files that the stage of that name runs, in the image's package.
KERNELS_CODE = ("__init__.py", "errors.py", "resources.py", "kernels/*.py", "kernels/triton/*.py")
KEY_LENGTH = 16


@dataclass(frozen=True)
class ImageSource:
    """One image of the product.

    Attributes:
        name: The image's name in a registry.
        folder: Its folder in the repository, with Dockerfile and requirements.lock.
        package: The Python package in that folder, the last layer of the image.
        cuda_archs: GPUs to compile kernels for, such as 8.0,9.0a; empty for none.
    """

    name: str
    folder: Path
    package: str
    cuda_archs: str = ""

    @property
    def dockerfile(self) -> Path:
        return self.folder / "Dockerfile"

    def dependencies_key(self, base: str) -> str:
        """Return the key of the layer below our code: base, recipe and lock file."""
        # Without the stages from `app` on, so that a change there does not rebuild gigabytes.
        recipe = self.dockerfile.read_text().partition(APP_STAGE)[0]
        return content_key(
            [base, _stanza(TOOLS_LOCK.read_text(), "uv"), recipe],
            [self.folder / "requirements.lock"],
            self.folder,
        )

    def kernels_key(self, base: str) -> str:
        """Return the key of the layer with compiled kernels: their sources and architectures."""
        stage = self.dockerfile.read_text().partition(KERNELS_STAGE)[2].partition("\nFROM ")[0]
        package = self.folder / self.package
        return content_key(
            [self.dependencies_key(base), self.cuda_archs, stage],
            [
                *self.folder.glob("*.lock"),
                *(path for pattern in KERNELS_CODE for path in package.glob(pattern)),
            ],
            self.folder,
        )

    def key(self, base: str) -> str:
        """Return the key of the whole image, which is its tag."""
        package = self.folder / self.package
        files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        parts = [self.dependencies_key(base)]
        if self.cuda_archs:
            parts.append(self.kernels_key(base))
        return content_key(parts, [self.dockerfile, *files], self.folder)


OPERATOR = ImageSource("deepseek-operator", REPOSITORY / "operator", "deepseek_operator")
MODEL_SERVER = ImageSource(
    "deepseek-server",
    REPOSITORY / "model_server",
    "deepseek_server",
    cuda_archs=os.environ.get("CUDA_ARCHS", ""),
)


def content_key(texts: Iterable[str], files: Iterable[Path], root: Path) -> str:
    """Hash texts and files (by their path below `root` and their bytes, not their dates)."""
    digest = hashlib.sha256()
    for text in texts:
        _feed(digest, text.encode())
    for path in sorted(files):
        _feed(digest, path.relative_to(root).as_posix().encode())
        _feed(digest, path.read_bytes())
    return digest.hexdigest()[:KEY_LENGTH]


def _feed(digest: "hashlib._Hash", content: bytes) -> None:
    # Prefix the length, so that different lists of contents have different hashes.
    digest.update(len(content).to_bytes(8, "big"))
    digest.update(content)


def _stanza(lock: str, name: str) -> str:
    """Return the lines of one requirement in a lock file: its pin and its hashes."""
    lines: list[str] = []
    wanted = False
    for line in lock.splitlines():
        if line and not line[0].isspace():
            wanted = line.startswith(f"{name}==")
        if wanted:
            lines.append(line)
    return "\n".join(lines)
