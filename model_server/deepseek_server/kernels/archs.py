"""GPU architectures in NVIDIA's notation: compilation targets, and the GPUs that run them."""

import re
from dataclasses import dataclass

from deepseek_server.errors import PermanentError

Capability = tuple[int, int]

# The oldest generation, Ampere, on which FlashInfer supports bfloat16.
OLDEST: Capability = (8, 0)
_ARCH = re.compile(r"(\d+)\.(\d)(a?)")


@dataclass(frozen=True, order=True)
class Arch:
    """A target architecture of nvcc, such as 8.0 or 9.0a.

    Attributes:
        major: Generation.
        minor: Member of the generation.
        exact: Whether the code uses features of this member only (the suffix `a`).
    """

    major: int
    minor: int
    exact: bool = False

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}{'a' if self.exact else ''}"

    @property
    def capability(self) -> Capability:
        """Compute capability of the target GPU."""
        return self.major, self.minor

    def runs_on(self, capability: Capability) -> bool:
        """Return whether a GPU runs the code: later members of the generation do, unless `exact`.

        Source: CUDA C++ Programming Guide, "Binary Compatibility" and "Feature-specific targets".
        """
        major, minor = capability
        return major == self.major and (minor == self.minor if self.exact else minor >= self.minor)


def arch_of(capability: Capability) -> Arch:
    """Return the target architecture for a GPU: as in FlashInfer, exact from Hopper on."""
    return Arch(*capability, exact=capability >= (9, 0))


def parse_archs(text: str) -> tuple[Arch, ...]:
    """Parse a list such as "8.0,9.0a"; a missing `a` from 9.0 on is added.

    Raises:
        PermanentError: an item is not an architecture, or FlashInfer has no kernels for it.
    """
    archs = {_arch(word) for word in re.split(r"[,\s]+", text) if word}
    if not archs:
        raise PermanentError("the list of GPU architectures is empty: write for example 8.0,9.0a")
    return tuple(sorted(archs))


def _arch(word: str) -> Arch:
    match = _ARCH.fullmatch(word)
    if not match:
        raise PermanentError(
            f"{word} is not a GPU architecture: write for example 8.0 (A100), 8.9 (L4, L40S), "
            "9.0a (H100, H200) or 10.0a (B200)"
        )
    arch = arch_of((int(match[1]), int(match[2])))
    if arch.capability < OLDEST:
        raise PermanentError(
            f"FlashInfer has no kernels for GPU architecture {word}: the oldest is 8.0"
        )
    if match[3] and not arch.exact:
        raise PermanentError(f"GPU architecture {word} does not exist: write {arch}")
    return arch
