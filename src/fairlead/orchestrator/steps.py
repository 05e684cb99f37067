"""What was done for one task after its first node let it down: values for the decision record."""

import msgspec


class RescueStep(msgspec.Struct, frozen=True, gc=False):
    """An answer that broke in the middle was taken over."""

    node: str
    """Where it broke."""
    to_node: str
    to_model: str
    how: str
    """`continued`, `spliced` or `restarted`."""
    kept_bytes: int
    """Of text, that the caller had by then."""


class HedgeStep(msgspec.Struct, frozen=True, gc=False):
    """A second node was asked because the first token of the first was late."""

    node: str
    to_node: str
    after_s: float
    """How long the first had been silent."""
    won: bool
    """Whether the second was the first to answer, and so the one whose answer counts."""
