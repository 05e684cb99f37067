"""Where a model is served."""

import msgspec
from msgspec.structs import force_setattr

from fairlead.domain.resources import UNKNOWN_CAPACITY, Capacity


class Node(msgspec.Struct, frozen=True):
    """An address, or a local instance, that serves models."""

    name: str
    weight: float = 1.0
    slots: int | None = None
    """How many tasks it works on at once: short for `capacity.slots`."""
    region: str | None = None
    failure_domain: str | None = None
    """What it shares its fate with: a host, a rack, a provider. Its own name when not given."""
    capacity: Capacity = UNKNOWN_CAPACITY

    def __post_init__(self) -> None:
        if self.slots is None:
            force_setattr(self, "slots", self.capacity.slots)
        elif self.capacity.slots != self.slots:
            force_setattr(self, "capacity", msgspec.structs.replace(self.capacity, slots=self.slots))

    @property
    def fate(self) -> str:
        """The failure domain, or the node's own name where none was given."""
        return self.failure_domain or self.name
