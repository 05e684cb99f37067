"""What a node would hold with the tasks that are meant for it."""

from fairlead.allocation.account import Account
from fairlead.balancing.config import LoadBalancerConfig
from fairlead.domain import Needs
from fairlead.domain.load import NodeHealth, NodeLoad

DEGRADED_SHARE = 0.5
"""How much of a degraded node's capacity counts when loads are compared."""
ASSUMED_SLOTS = 16
"""What a node counts as having that tells neither slots nor tokens; it limits nothing."""
ENOUGH_OUTCOMES = 20
"""Outcomes from which on an error rate says something."""
_ROUNDING = 1e-6


def health_of(node: NodeLoad, config: LoadBalancerConfig) -> NodeHealth:
    """Judge a node by its figures; slowness alone never keeps tasks away."""
    is_judged = node.outcomes is None or node.outcomes >= ENOUGH_OUTCOMES
    highest = min(config.max_error_rate, 1.0 - config.healthy_success_rate)
    if not node.is_healthy or (is_judged and node.error_rate > highest + _ROUNDING):
        return NodeHealth.UNHEALTHY
    if node.response_time_ms is not None and node.response_time_ms > config.healthy_response_time_ms:
        return NodeHealth.DEGRADED
    return NodeHealth.HEALTHY


class Projection(Account):
    """An account of what would be leased; limits per minute are left to the moment of sending.

    Its level is what loads are compared by: the share of the resource that is nearest to its end, where the capacity of
    a degraded node counts half.
    """

    __slots__ = (
        "_is_measured",
        "_of_gpu",
        "_of_memory",
        "_of_slots",
        "_of_tokens",
        "health",
        "level",
        "models",
        "order",
        "share",
        "size",
    )

    def __init__(self, node: NodeLoad, order: int, health: NodeHealth) -> None:
        super().__init__(name=node.name, capacity=node.capacity)
        self.rates = (None, None)
        self.order = order
        """Its place among the nodes; ties go to the lowest."""
        self.models = node.models
        self.health = health
        self.share = DEGRADED_SHARE if health is NodeHealth.DEGRADED else 1.0
        capacity = node.capacity
        slots = capacity.slots
        if slots is None and capacity.tokens is None:
            slots = ASSUMED_SLOTS
        self._of_slots = self._part(slots)
        self._of_tokens = self._part(capacity.tokens)
        self._of_memory = self._part(capacity.memory_bytes)
        self._of_gpu = self._part(capacity.gpu_memory_bytes)
        has_memory = capacity.memory_bytes is not None or capacity.gpu_memory_bytes is not None
        self._is_measured = not has_memory and slots == capacity.slots
        """Whether a level above a ceiling says that there is no room: of memory that is full, a task may need none."""
        self.size = slots or 0
        """Slots, or 0 where only tokens are known."""
        self.level = 0.0
        self.put(node.leased)

    def _part(self, there: int | None) -> float:
        return 0.0 if there is None else 1.0 / (there * self.share)

    @property
    def load(self) -> float:
        """Return the level without regard to health."""
        return self.level * self.share

    def put(self, needs: Needs, sign: int = 1) -> None:
        """Count a task that is meant for it, or with `sign` -1 count it no more."""
        self.book(needs, sign)
        self.level = self._level(self.in_flight, self.tokens, self.memory_bytes, self.gpu_memory_bytes)

    def level_with(self, needs: Needs, sign: int = 1) -> float:
        """Return what its level would be with a task more, or with `sign` -1 with one less."""
        return self._level(
            self.in_flight + sign * needs.slots,
            self.tokens + sign * (needs.input_tokens + needs.output_tokens),
            self.memory_bytes + sign * needs.memory_bytes,
            self.gpu_memory_bytes + sign * needs.gpu_memory_bytes,
        )

    def _level(self, slots: int, tokens: int, memory: int, gpu: int) -> float:
        level = max(slots * self._of_slots, tokens * self._of_tokens)
        if self._of_memory or self._of_gpu:
            level = max(level, memory * self._of_memory, gpu * self._of_gpu)
        return level

    def can_take(self, needs: Needs, ceiling: float | None, level: float | None = None) -> bool:
        """Tell whether it has room below a share of its capacity; None: whether it could hold so much if idle.

        `level` is what its level would be, where that is known already: mostly it is enough to tell.
        """
        if ceiling is None:
            return self.too_small_for(needs) is None
        if needs.tokens > self.most_tokens:
            return False
        load = (self.level_with(needs) if level is None else level) * self.share
        if load <= ceiling:
            return True
        if self._is_measured and self.in_flight and load > ceiling + _ROUNDING:
            return False
        return self.is_roomy or self.shortage(needs, 0.0, ceiling) is None

    def room(self, ceiling: float) -> tuple[float, float, float, float]:
        """Return at most how much of slots, tokens, memory and GPU memory there is below a share of its capacity."""
        capacity = self.capacity
        share = ceiling if self.in_flight else 1.0
        return (
            _free(capacity.slots, self.in_flight, share),
            _free(capacity.tokens, self.tokens, share),
            _free(capacity.memory_bytes, self.memory_bytes, share),
            _free(capacity.gpu_memory_bytes, self.gpu_memory_bytes, share),
        )


def _free(there: int | None, used: int, share: float) -> float:
    return float("inf") if there is None else max(0.0, there * share - used + _ROUNDING)
