"""What answers: a model, whichever nodes serve it."""

import msgspec

from fairlead.domain.task import TaskCategory


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars per million tokens."""

    input_usd_per_mtok: float = 0.0
    output_usd_per_mtok: float = 0.0

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float:
        """Return the price of one answer in US dollars."""
        return (input_tokens * self.input_usd_per_mtok + output_tokens * self.output_usd_per_mtok) / 1e6


class Model(msgspec.Struct, frozen=True):
    """A model's name and what is known of it."""

    name: str
    capabilities: frozenset[str] | None = None
    """None where unknown: then nothing is ruled out."""
    context_tokens: int | None = None
    price: Price | None = None
    skill: dict[TaskCategory, float] = {}
