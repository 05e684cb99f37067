"""What a node has and what a task takes of it."""

from typing import Annotated

import msgspec
from msgspec import Meta

_Count = Annotated[int, Meta(gt=0)]
_Amount = Annotated[float, Meta(ge=0)]


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a node has; what is None is not known and limits nothing. Raises ValueError for amounts that cannot be."""

    slots: _Count | None = None
    """Tasks that it works on at once."""
    tokens: _Count | None = None
    """Tokens that it can hold at once: its KV cache."""
    requests_per_minute: _Count | None = None
    tokens_per_minute: _Count | None = None
    memory_bytes: _Count | None = None
    gpu_memory_bytes: _Count | None = None
    usd_per_hour: _Amount | None = None
    """What it costs while it runs; for plans of how many nodes to keep, no limit."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None:
                continue
            if name == "usd_per_hour":
                if not 0 <= value < float("inf"):
                    raise ValueError(f"capacity.{name} must be 0 or more, not {value!r}")
            elif not 0 < value < float("inf"):
                raise ValueError(f"capacity.{name} must be above 0, not {value!r}; leave it out where it is unknown")

    def over(self, learnt: "Capacity") -> "Capacity":
        """Return this with what was learnt in the place of what is not said here."""
        own = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(learnt, **own)


UNKNOWN_CAPACITY = Capacity()


class Needs(msgspec.Struct, frozen=True, gc=False):
    """What one task takes of a node while it is there. Raises ValueError for a negative amount."""

    slots: int = 1
    input_tokens: int = 0
    """Of the prompt, as far as the node does not hold them already."""
    output_tokens: int = 0
    """Expected of the answer."""
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0

    def __post_init__(self) -> None:
        if min(self.slots, self.input_tokens, self.output_tokens, self.memory_bytes, self.gpu_memory_bytes) < 0:
            raise ValueError(f"a task cannot need less than nothing: {self}")

    @property
    def tokens(self) -> int:
        """Return the tokens that are held when the answer is whole."""
        return self.input_tokens + self.output_tokens


ONE_SLOT = Needs()


class Shortage(msgspec.Struct, frozen=True, gc=False):
    """The resource that a node has too little of, and how much is missing."""

    resource: str
    """`slots`, `tokens`, `memory_bytes`, `gpu_memory_bytes`, `requests_per_minute` or `tokens_per_minute`."""
    needed: float
    free: float
    capacity: float
    wait_s: float | None = None
    """When it would be there, where that follows from a rate; None where it depends on others' work."""

    @property
    def is_hopeless(self) -> bool:
        """Whether the node would be too small even if it were idle."""
        return self.needed > self.capacity

    def __str__(self) -> str:
        return f"{self.resource}: {self.needed:.0f} needed, {max(self.free, 0):.0f} of {self.capacity:.0f} free"
