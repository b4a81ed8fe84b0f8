"""Limits of an engine and conflicts of a spec with it, each as a sentence with an alternative."""

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.engines import engines
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.state.split import Split


def unsupported(spec: Spec) -> str | None:
    """Return why an engine can't serve a spec, None if no reason is known."""
    engine = engines()[spec.engine.type]
    if spec.engine.type == "transformers":
        return None  # plan/sizing/sizing.py checks the bundled server's limits
    if spec.accelerator is None:
        return (
            f"engine.type {spec.engine.type} runs only on GPUs: set accelerator, or remove "
            "engine.type to serve on the CPU."
        )
    if foreign := _other_vendor(spec):
        return (
            f"The image of engine.type {spec.engine.type} supports only NVIDIA GPUs, not {foreign}: "
            "set engine.image to an image built for it, or choose another accelerator.profile."
        )
    if spec.security.api_keys:
        return (
            f"{engine.title} does not support security.apiKeys: use security.jwt, or remove "
            "engine.type to use the bundled server, which does."
        )
    model = models().get(spec.model.id)
    if model is None:
        return None
    kind = model.shape.model_type
    if kind not in engine.serves:
        return (
            f"{engine.title} {engine.release} does not serve {spec.model.id} (model_type {kind}). "
            "Remove engine.type, or choose another model."
        )
    if older := _too_old(spec, engine.serves_from.get(kind)):
        return (
            f"{engine.title} {engine.release} has no kernels for {spec.model.id} on {older}: choose "
            "a newer GPU, or set engine.image to an image that has them."
        )
    if spec.model.dtype == "float32" and kind in engine.sixteen_bit:
        return (
            f"{engine.title} {engine.release} runs {spec.model.id} only in 16 bits: set "
            "model.dtype to bfloat16 or float16, or remove it."
        )
    return None


def _other_vendor(spec: Spec) -> str | None:
    """Return an accelerator that the engine's own image does not support."""
    kinds = spec.accelerator.kinds if spec.accelerator and not spec.engine.image else []
    profiles = accelerators().profiles
    return next((name for name in kinds if not profiles[name].resource.startswith("nvidia.")), None)


def _too_old(spec: Spec, capability: tuple[int, int] | None) -> str | None:
    """Return an accelerator below the compute capability that the engine's own image needs."""
    kinds = spec.accelerator.kinds if spec.accelerator and not spec.engine.image else []
    profiles = accelerators().profiles
    return next(
        (name for name in kinds if capability and (0, 0) < profiles[name].version < capability),
        None,
    )


def reserved(spec: Spec) -> str | None:
    """Return why an engine argument conflicts with another field, None if none does.

    Programs accept any unambiguous prefix of a flag, so a prefix of a reserved flag is refused too.
    """
    for arg in spec.engine.args:
        flag = _flag(arg)
        if flag is None:
            continue
        for entry in engines()[spec.engine.type].reserved:
            if any(_means(flag, known) for known in entry.flags):
                return f"engine.args must not set {flag}. {entry.instead}"
    return None


def _flag(arg: str) -> str | None:
    """Return the flag that an argument sets, with hyphens; None if it is a value."""
    name = arg.partition("=")[0]
    if not name.startswith("-") or len(name.lstrip("-")) == 0:
        return None
    if name.startswith("--"):
        return name.replace("_", "-")
    return name.rstrip("0123456789")


def _means(flag: str, known: str) -> bool:
    return flag == known or (flag.startswith("--") and known.startswith(flag))


def beyond(spec: Spec, asked: Split) -> str | None:
    """Return a sentence about the first kind of parallelism that the engine lacks, or None."""
    engine = engines()[spec.engine.type]
    wanted = {
        "tensor": asked.tensor > 1,
        "pipeline": asked.pipeline > 1,
        "data": asked.data > 1,
        "expert": asked.expert,
    }
    missing = [
        way for way, is_asked in wanted.items() if is_asked and way not in engine.parallelism
    ]
    if not missing:
        return None
    able = [name for name, entry in engines().items() if set(missing) <= set(entry.parallelism)]
    return (
        f"{engine.title[0].upper()}{engine.title[1:]} has no {missing[0]} parallelism: set "
        f"engine.type to {' or '.join(able)}, or remove parallelism.{missing[0]} and set "
        "parallelism.tensor to all GPUs of a replica."
    )
