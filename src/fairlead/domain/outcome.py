"""What came back."""

import msgspec

from fairlead.domain.model import Price
from fairlead.domain.task import TaskCategory
from fairlead.errors import Fault


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How one attempt at a task ended."""

    success: bool
    latency_s: float
    category: TaskCategory = TaskCategory.UNKNOWN
    first_token_s: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    fault: Fault | None = None

    def cost_usd(self, price: Price | None) -> float | None:
        """Return what the answer cost in US dollars; None where no price or no count of tokens is known."""
        if price is None or not (self.input_tokens or self.output_tokens):
            return None
        return price.cost_usd(self.input_tokens, self.output_tokens)
