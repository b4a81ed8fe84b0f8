"""What a request cost, in tokens."""

from dataclasses import dataclass, field
from typing import Any

from deepseek_server.engine.types import Output


@dataclass
class Usage:
    """The tokens of a request so far.

    Attributes:
        prompt: in its prompts, each counted once.
        completion: in its answers.
        reasoning: of those, before the answers proper.
        cached: of the prompts, those that needed no computing, by the answer that came first.
    """

    prompt: int
    completion: int = 0
    reasoning: int = 0
    cached: dict[int, int] = field(default_factory=dict)

    def add(self, prompt: int, output: Output) -> None:
        """Count an output.

        Args:
            prompt: which of the request's prompts it answers.
            output: the output.
        """
        self.completion += len(output.token_ids)
        # More answers to one prompt share its cache, which says nothing of what was there before.
        self.cached.setdefault(prompt, output.cached_tokens)

    def json(self) -> dict[str, Any]:
        """In OpenAI's words."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": sum(self.cached.values())},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }
