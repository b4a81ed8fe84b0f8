"""Token usage of a request."""

from dataclasses import dataclass, field
from typing import Any

from deepseek_server.engine.types import Output


@dataclass
class Usage:
    """The tokens of a request so far.

    Attributes:
        prompt: tokens of the prompts, each prompt counted once.
        completion: tokens of all choices.
        reasoning: completion tokens that are reasoning.
        cached: prompt tokens found in the prefix cache, by prompt, as the first choice reported.
    """

    prompt: int
    completion: int = 0
    reasoning: int = 0
    cached: dict[int, int] = field(default_factory=dict)

    def add(self, prompt: int, output: Output) -> None:
        """Count the tokens of an output.

        Args:
            prompt: index of the prompt it belongs to.
            output: the output.
        """
        self.completion += len(output.token_ids)
        # Further choices of a prompt reuse blocks of the first one, which are no earlier cache hits.
        self.cached.setdefault(prompt, output.cached_tokens)

    def json(self) -> dict[str, Any]:
        """Return the usage object of OpenAI's API."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": sum(self.cached.values())},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }
