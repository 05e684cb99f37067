"""What a ResourceAllocator is built with."""

import msgspec

from fairlead.errors import ConfigError


class AllocationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much is reserved, and for how long; raises ConfigError for a value out of range."""

    max_node_utilization: float = 0.8
    """Beyond this share of a node `batch` work never goes, and other work only where no node is below."""
    timeout_ms: float = 600_000.0
    """Time without progress after which a lease is taken back."""
    default_output_tokens: int = 512
    """Expected of an answer while nothing was seen of its model and category."""
    half_life_s: float = 3600.0
    """After this long, what was seen of a model's answers counts half."""
    max_models: int = 1024
    """Of which it is remembered how long their answers are; the longest unheard of is forgotten for a new one."""
    grow_at: float = 0.9
    """Used share of a reservation from which it grows..."""
    growth: float = 1.5
    """...to this many times what is used."""
    shrink_at: float = 0.5
    """A reservation shrinks to what is expected now where that is below this share of it."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"allocation.{name} must be above 0, not {getattr(self, name)!r}")
        for name in ("max_node_utilization", "grow_at", "shrink_at"):
            if getattr(self, name) > 1:
                raise ConfigError(f"allocation.{name} must be at most 1, not {getattr(self, name)!r}")
        if self.growth <= 1:
            raise ConfigError(f"allocation.growth must be above 1, not {self.growth!r}")
