"""Where a model is served."""

import msgspec


class Node(msgspec.Struct, frozen=True):
    """An address, or a local instance, that serves models."""

    name: str
    weight: float = 1.0
    slots: int | None = None
    """How many tasks it works on at once; None where unknown."""
    region: str | None = None
    failure_domain: str | None = None
    """What it shares its fate with: a host, a rack, a provider. Its own name when not given."""

    @property
    def fate(self) -> str:
        """The failure domain, or the node's own name where none was given."""
        return self.failure_domain or self.name
