"""What an engine can't do, and what of a spec contradicts it: each as a sentence with a way out."""

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.engines import engines
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.state.split import Split


def unsupported(spec: Spec) -> str | None:
    """Why an engine can't serve what a spec asks for, None where nothing is known against it."""
    engine = engines()[spec.engine.type]
    if spec.engine.type == "transformers":
        return None  # plan/sizing/sizing.py knows what it can do
    if spec.accelerator is None:
        return (
            f"engine.type {spec.engine.type} runs on GPUs only: set accelerator, or leave "
            "engine.type out to serve on the CPU."
        )
    if foreign := _other_vendor(spec):
        return (
            f"The image of engine.type {spec.engine.type} is for GPUs of NVIDIA, and {foreign} is "
            "none: set engine.image to one that is made for it, or choose another profile."
        )
    if spec.security.api_keys:
        return (
            f"{engine.title} reads no file of API keys: use security.jwt, or leave engine.type out "
            "for the bundled server, which does."
        )
    model = models().get(spec.model.id)
    if model is None:
        return None
    kind = model.shape.model_type
    if kind not in engine.serves:
        return (
            f"{engine.title} {engine.release} does not serve {spec.model.id} (model_type {kind}). "
            "Leave engine.type out, or choose another model."
        )
    if older := _too_old(spec, engine.serves_from.get(kind)):
        return (
            f"{engine.title} {engine.release} has no kernels for {spec.model.id} on {older}: choose "
            "a newer kind of GPU, or set engine.image to one that has them."
        )
    if spec.model.dtype == "float32" and kind in engine.sixteen_bit:
        return (
            f"{engine.title} {engine.release} computes {spec.model.id} in 16 bits only: set "
            "model.dtype to bfloat16 or float16, or leave it out."
        )
    return None


def _other_vendor(spec: Spec) -> str | None:
    """An accelerator that the engine's own image is not for."""
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
    """The first of a spec's arguments that says what another field says, None if all is well.

    Programs take a flag by any beginning that no other flag has; such a beginning of a flag of the
    operator's is refused like the flag.
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
    """The flag that an argument sets, with hyphens; None where it is a value."""
    name = arg.partition("=")[0]
    if not name.startswith("-") or len(name.lstrip("-")) == 0:
        return None
    if name.startswith("--"):
        return name.replace("_", "-")
    return name.rstrip("0123456789")


def _means(flag: str, known: str) -> bool:
    return flag == known or (flag.startswith("--") and known.startswith(flag))


def beyond(spec: Spec, asked: Split) -> str | None:
    """The first way of spreading a model that its engine does not have, as a sentence."""
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
        f"engine.type to {' or '.join(able)}, or leave parallelism.{missing[0]} out and write "
        "parallelism.tensor with all GPUs of a replica."
    )
