"""Steps that one task took: of a cascade, to another node that raced or rescued; values for the decision record."""

import msgspec

from fairlead.routing.engine import ModelChoice


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


class Step(msgspec.Struct):
    """Which step of a cascade an exchange is."""

    cascade: str
    number: int
    """From 1."""
    total: int
    reason: str | None = None
    """Why the cascade did not take this step's answer; None while nobody knows, and where it took it."""
    outline: str | None = None
    """The same without the words of a node or a plugin, which may quote a prompt."""
    asked_for: str = ""
    """The name that the caller asked for."""
    choice: ModelChoice | None = None
    """What chose the cascade, where the caller left that open."""

    def __str__(self) -> str:
        return f"{self.cascade} {self.number}/{self.total}"
