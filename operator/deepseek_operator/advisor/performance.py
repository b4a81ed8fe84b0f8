"""Performance prediction of a replica: a roofline model, scaled to the measured efficiency of the server.

A step reads the weights that it uses and the KV cache, and computes; the longer of the two counts
(Williams et al., Roofline, CACM 52(4), 2009). In addition every layer has a launch overhead, every
request a sampling overhead, and tensor-parallel GPUs two all-reduces per layer. The efficiencies and
times are in catalog/performance.yaml; every prediction includes its error.
"""

from dataclasses import dataclass
from functools import cache

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import EXACT, Model, models
from deepseek_operator.catalog.performance import Load, Point, Ratio, performance
from deepseek_operator.plan.sizing.fit import compute_type
from deepseek_operator.plan.sizing.memory import BYTES, Memory

# Variation between runs of the same measurement (docs/performance.md).
RUNS = 0.05
# Fewer points of a GPU profile are not conclusive: one may be close by chance.
ENOUGH = 3


@dataclass(frozen=True)
class Prediction:
    """The performance of a replica at a constant number of concurrent requests.

    Attributes:
        at_once: Concurrent requests.
        ttft: Time to first token in seconds, without other prompts queued before it.
        itl: Inter-token latency in seconds, including the prefill of other requests.
        per_second: Output tokens per second over all requests.
        error: Relative error of the prediction.
        basis: Source of the error estimate, as text.
    """

    at_once: int
    ttft: float
    itl: float
    per_second: float
    error: float
    basis: str

    def requests(self, output: int) -> float:
        """Return the requests per second for answers of `output` tokens."""
        return self.per_second / output


@dataclass(frozen=True)
class Speed:
    """The speed of a model on GPUs that share every layer.

    Attributes:
        memory: Memory use of the model on these GPUs.
        profile: Name of the GPU profile.
    """

    memory: Memory
    profile: str

    @property
    def known(self) -> bool:
        """Whether a prediction is possible; not for plain and sparse attention, nor several nodes."""
        memory = self.memory
        return (
            memory.model.shape.attention in ("grouped", "latent")
            and memory.stages == 1
            and memory.profile.bandwidth > 0
            and memory.profile.tflops.get(memory.dtype, 0) > 0
            and memory.gpus <= memory.profile.together
        )

    def step(self, at_once: int, context: float) -> float:
        """Return the seconds of a decode step.

        Args:
            at_once: Concurrent requests.
            context: Average tokens of context per request.
        """
        rates, memory = performance().rates, self.memory
        read = self._read(at_once) + at_once * context * memory.per_token
        moving = read / (memory.profile.bandwidth * 1e9 * rates.bandwidth)
        return max(moving, self._computing(at_once, context)) + self._beside(at_once, at_once)

    def prompt(self, tokens: int, prompts: int = 1) -> float:
        """Return the prefill seconds of `prompts` prompts of `tokens` tokens each."""
        rates, memory = performance().rates, self.memory
        moving = self._read(tokens * prompts) / (memory.profile.bandwidth * 1e9 * rates.bandwidth)
        computing = prompts * self._computing(tokens, tokens / 2)
        return max(moving, computing) + self._beside(tokens * prompts, prompts)

    def at(self, at_once: int, prompt: int, answer: int) -> Prediction:
        """Return the performance under a closed-loop load.

        Args:
            at_once: Concurrent requests.
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
        """Return the output tokens per second under a closed-loop load."""
        decoding = (answer - 1) * self.step(at_once, prompt + answer / 2)
        return at_once * answer / (self.prompt(prompt, at_once) + decoding)

    def _read(self, tokens: int) -> float:
        """Return the weight bytes that a step of `tokens` tokens reads on each GPU."""
        memory, shape = self.memory, self.memory.model.shape
        numbers, widths = shape.numbers, memory.widths
        # Routing is modelled as random.
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
        """Replicated plain parameters used by every token, without the embedding, which is a row lookup."""
        shape = self.memory.model.shape
        embedding = shape.vocabulary * shape.hidden
        tied = bool(shape.config.get("tie_word_embeddings"))
        return shape.numbers.whole_plain - (0 if tied else embedding)

    def _computing(self, tokens: int, before: float) -> float:
        """Return the seconds of arithmetic for `tokens` tokens with `before` tokens of context each."""
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
        """Return the overhead seconds of a step: launches, sampling and communication."""
        rates, memory, shape = performance().rates, self.memory, self.memory.model.shape
        layer = rates.layer_of_experts if shape.experts else rates.layer
        seconds = shape.layers * layer + requests * rates.sequence
        if memory.gpus > 1:
            sent = 2 * (memory.gpus - 1) / memory.gpus * tokens * shape.hidden * BYTES[memory.dtype]
            sums = 2 * shape.layers
            seconds += sums * (rates.exchange + sent / performance().link(self.profile))
        return seconds


def error(model: Model, profile: str, gpus: int) -> tuple[float, str]:
    """Return the relative error of a prediction, and the source of that estimate."""
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
        description = "other models on this kind of GPU" if enough else "mostly other kinds of GPU"
        off = max(map(deviation, same if enough else known))
        basis = f"measured and estimated: {description}"
    if gpus > 1:
        off = (1 + off) * (1 + max(map(deviation_of_ratio, performance().split))) - 1
    return off, basis


@cache
def deviation(point: Point) -> float:
    """Return the relative deviation of the prediction from a measured or estimated point."""
    return abs(predicted(point) / point.per_second - 1)


@cache
def deviation_of_ratio(ratio: Ratio) -> float:
    """Return the relative deviation from a measured speed-up of several GPUs over one."""
    one = ratio.model_copy(update={"gpus": 1})
    return abs(predicted(ratio) / predicted(one) / ratio.ratio - 1)


def predicted(load: Load) -> float:
    """Return the predicted output tokens per second for a load of the catalogue."""
    model = models().get(f"{models().organisation}/{load.model}")
    profile = accelerators().profiles[load.profile]
    assert model is not None  # noqa: S101 - tests check the catalogue
    memory = Memory(model, profile, load.gpus, compute_type("auto", model, profile))
    return Speed(memory, load.profile).rate(load.at_once, load.input, load.output)


def _is_of(point: Point, model: Model, profile: str) -> bool:
    known = models().get(f"{models().organisation}/{point.model}")
    same = known is not None and known.shape.config == model.shape.config
    return same and point.profile == profile


def _attended(model: Model) -> int:
    """Return the multiplications per pair of tokens and layer in prefill attention."""
    shape = model.shape
    if shape.attention == "latent":
        config = shape.config
        each = config["qk_nope_head_dim"] + config["qk_rope_head_dim"] + config["v_head_dim"]
        return int(shape.heads * each)
    return 2 * shape.heads * shape.head
