"""How fast a replica will be: a roofline, with the shares of it that the server was measured to reach.

A step reads the weights that it uses and the cached keys and values, and computes; whichever takes
longer counts (Williams et al., Roofline, CACM 52(4), 2009). Beside that every layer takes a while for
launches, every request for sampling, and GPUs that share a layer for two sums. The shares and times
are in catalog/performance.yaml; how far they are off is said with every prediction.
"""

from dataclasses import dataclass
from functools import cache

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import EXACT, Model, models
from deepseek_operator.catalog.performance import Load, Point, Ratio, performance
from deepseek_operator.plan.sizing.fit import compute_type
from deepseek_operator.plan.sizing.memory import BYTES, Memory

# What one run of the same measurement differed from another (docs/performance.md).
RUNS = 0.05
# With fewer points of a kind of GPU they say little of it: one may be near by chance.
ENOUGH = 3


@dataclass(frozen=True)
class Prediction:
    """What a replica does while so many requests run on it all the time.

    Attributes:
        at_once: Requests.
        ttft: Seconds to the first token of an answer where no other prompt is before it.
        itl: Seconds between two tokens of an answer, prompts of others among them.
        per_second: Output tokens of all answers in a second.
        error: How far it may be off, as a share.
        basis: What that is known from, in words.
    """

    at_once: int
    ttft: float
    itl: float
    per_second: float
    error: float
    basis: str

    def requests(self, output: int) -> float:
        """Requests in a second with answers of so many tokens."""
        return self.per_second / output


@dataclass(frozen=True)
class Speed:
    """The speed of a model on GPUs that share every layer.

    Attributes:
        memory: How it lies in them.
        profile: Name of their kind.
    """

    memory: Memory
    profile: str

    @property
    def known(self) -> bool:
        """Whether anything is known: of plain and sparse attention, and of several nodes, nothing is."""
        memory = self.memory
        return (
            memory.model.shape.attention in ("grouped", "latent")
            and memory.stages == 1
            and memory.profile.bandwidth > 0
            and memory.profile.tflops.get(memory.dtype, 0) > 0
            and memory.gpus <= memory.profile.together
        )

    def step(self, at_once: int, context: float) -> float:
        """Seconds of a step that gives each of so many requests a token.

        Args:
            at_once: Requests.
            context: Tokens that each has in the mean.
        """
        rates, memory = performance().rates, self.memory
        read = self._read(at_once) + at_once * context * memory.per_token
        moving = read / (memory.profile.bandwidth * 1e9 * rates.bandwidth)
        return max(moving, self._computing(at_once, context)) + self._beside(at_once, at_once)

    def prompt(self, tokens: int, prompts: int = 1) -> float:
        """Seconds to compute so many prompts of so many tokens."""
        rates, memory = performance().rates, self.memory
        moving = self._read(tokens * prompts) / (memory.profile.bandwidth * 1e9 * rates.bandwidth)
        computing = prompts * self._computing(tokens, tokens / 2)
        return max(moving, computing) + self._beside(tokens * prompts, prompts)

    def at(self, at_once: int, prompt: int, answer: int) -> Prediction:
        """What it does under a closed load.

        Args:
            at_once: Requests.
            prompt: Tokens of each prompt.
            answer: Tokens of each answer.
        """
        first = self.prompt(prompt)
        steps = max(answer - 1, 1)
        seconds = at_once * answer / self.rate(at_once, prompt, answer)
        off, basis = error(self.memory.model, self.profile, self.memory.gpus)
        return Prediction(
            at_once,
            ttft=first,
            itl=(seconds - first) / steps,
            per_second=at_once * answer / seconds,
            error=off,
            basis=basis,
        )

    def rate(self, at_once: int, prompt: int, answer: int) -> float:
        """Output tokens in a second under a closed load."""
        decoding = (answer - 1) * self.step(at_once, prompt + answer / 2)
        return at_once * answer / (self.prompt(prompt, at_once) + decoding)

    def _read(self, tokens: int) -> float:
        """Bytes of the weights that a step of so many tokens reads in each GPU."""
        memory, shape = self.memory, self.memory.model.shape
        numbers, widths = shape.numbers, memory.widths
        # Each token chooses experts as if at random.
        used = 1 - (1 - shape.chosen / shape.experts) ** tokens if shape.experts else 0.0
        split = (
            numbers.experts * used * widths.expert
            + numbers.heads * widths.heads
            + numbers.split * widths.split
            + numbers.split_plain * widths.plain
        )
        whole = numbers.whole * widths.whole + self._met * widths.plain
        whole += numbers.whole_exact * EXACT
        return split / memory.gpus + whole

    @property
    def _met(self) -> int:
        """Plain numbers that each GPU has whole and every token meets: of the embedding it reads a row."""
        shape = self.memory.model.shape
        embedding = shape.vocabulary * shape.hidden
        tied = bool(shape.config.get("tie_word_embeddings"))
        return shape.numbers.whole_plain - (0 if tied else embedding)

    def _computing(self, tokens: int, before: float) -> float:
        """Seconds of arithmetic for so many tokens with so many before each."""
        rates, memory, shape = performance().rates, self.memory, self.memory.model.shape
        kind = "fp8" if memory.packed and "fp8" in memory.profile.tflops else memory.dtype
        peak = memory.profile.tflops[kind] * 1e12 * memory.gpus
        numbers = shape.numbers
        whole = numbers.whole + self._met + numbers.whole_exact
        dense = numbers.heads + numbers.split + numbers.split_plain + whole
        experts = numbers.experts * shape.chosen / shape.experts if shape.experts else 0
        share = rates.experts if shape.experts else rates.arithmetic
        attended = before * shape.layers * _attended(memory.model)
        return 2 * tokens * (dense + experts + attended) / (peak * share)

    def _beside(self, tokens: int, requests: int) -> float:
        """Seconds of a step beside weights and arithmetic."""
        rates, memory, shape = performance().rates, self.memory, self.memory.model.shape
        layer = rates.layer_of_experts if shape.experts else rates.layer
        seconds = shape.layers * layer + requests * rates.sequence
        if memory.gpus > 1:
            sent = 2 * (memory.gpus - 1) / memory.gpus * tokens * shape.hidden * BYTES[memory.dtype]
            sums = 2 * shape.layers
            seconds += sums * (rates.exchange + sent / performance().link(self.profile))
        return seconds


def error(model: Model, profile: str, gpus: int) -> tuple[float, str]:
    """How far a prediction may be off, as a share, and what that is known from."""
    found = [point for point in performance().measured if _is_of(point, model, profile)]
    if found:
        off, basis = (
            max(RUNS, *map(deviation, found)),
            "this model was measured on this kind of GPU",
        )
    else:
        known = performance().measured + performance().estimated
        same = [point for point in known if point.profile == profile]
        enough = len(same) >= ENOUGH
        words = "other models on this kind of GPU" if enough else "mostly other kinds of GPU"
        off = max(map(deviation, same if enough else known))
        basis = f"measured and estimated: {words}"
    if gpus > 1:
        off = (1 + off) * (1 + max(map(deviation_of_ratio, performance().split))) - 1
    return off, basis


@cache
def deviation(point: Point) -> float:
    """By what share the prediction is off what was measured or estimated."""
    return abs(predicted(point) / point.per_second - 1)


@cache
def deviation_of_ratio(ratio: Ratio) -> float:
    """By what share it is off what was measured on several GPUs in terms of one."""
    one = ratio.model_copy(update={"gpus": 1})
    return abs(predicted(ratio) / predicted(one) / ratio.ratio - 1)


def predicted(load: Load) -> float:
    """What is predicted for a load of the catalogue, in output tokens per second."""
    model = models().get(f"{models().organisation}/{load.model}")
    profile = accelerators().profiles[load.profile]
    assert model is not None  # noqa: S101 - the catalogue is ours, and tested
    memory = Memory(model, profile, load.gpus, compute_type("auto", model, profile))
    return Speed(memory, load.profile).rate(load.at_once, load.input, load.output)


def _is_of(point: Point, model: Model, profile: str) -> bool:
    known = models().get(f"{models().organisation}/{point.model}")
    same = known is not None and known.shape.config == model.shape.config
    return same and point.profile == profile


def _attended(model: Model) -> int:
    """Products of a token with another one in a layer, as prompts are computed."""
    shape = model.shape
    if shape.attention == "latent":
        config = shape.config
        each = config["qk_nope_head_dim"] + config["qk_rope_head_dim"] + config["v_head_dim"]
        return int(shape.heads * each)
    return 2 * shape.heads * shape.head
