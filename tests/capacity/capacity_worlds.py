"""Fleets and traffic for the proofs in virtual time."""

from collections.abc import Callable, Iterator
from math import exp, log
from random import Random

from fairlead.admission.config import QueueConfig
from fairlead.balancing.balancer import LoadBalancer
from fairlead.domain import Capacity, Node, Task
from fairlead.domain.priority import NORMAL
from fairlead.engine.fleet import FleetSettings
from fairlead.routing import RoutingSettings, make_strategy
from fairlead.testing import Behaviour, ServiceTimes, VirtualFleet

SLOTS = (4, 8, 8, 16, 16, 32, 48, 64)
TOKENS_PER_SLOT = 1000
"""Of KV cache: less than what the longest tasks take, so that now slots and now tokens come to their end."""
UTILIZATION = 0.8
"""As a gateway is configured when nothing is said."""
H100 = ServiceTimes()
HOLDING_S = 6.8
"""What a task of `Traffic` takes on average on a busy node."""


class Traffic:
    """Draws tasks: prompts and answers of log-normal lengths, long and short ones mixed."""

    def __init__(self, seed: int, prompt: int = 300, answer: int = 150, spread: float = 0.8) -> None:
        self._random = Random(seed)
        self._name = seed
        self._number = 0
        self._prompt, self._answer, self._spread = prompt, answer, spread

    def task(self, priority: int = NORMAL, tenant: str | None = None, *, is_limited: bool = False) -> tuple[Task, int]:
        """Return a task and how long its answer will be; `is_limited` says that the caller told the latter."""
        self._number += 1
        answer = self._length(self._answer, 1200)
        return (
            Task(
                f"{self._name}-{self._number}",
                self._name * 1_000_003 + self._number,
                model="m",
                input_tokens=self._length(self._prompt, 3000),
                output_tokens=answer if is_limited else 0,
                priority=priority,
                tenant=tenant,
            ),
            answer,
        )

    def moments(self, rate: Callable[[float], float], most: float, until_s: float) -> Iterator[float]:
        """Return arrival times of a Poisson process of a rate that changes (by thinning)."""
        now_s = 0.0
        while True:
            now_s += self._random.expovariate(most)
            if now_s >= until_s:
                return
            if self._random.random() * most < rate(now_s):
                yield now_s

    def _length(self, median: int, most: int) -> int:
        return max(8, min(most, round(exp(self._random.gauss(log(median), self._spread)))))


def fleet(
    strategy: str = "hybrid",
    slots: tuple[int, ...] = SLOTS,
    *,
    times: ServiceTimes = H100,
    queue: QueueConfig | None = None,
    shares: dict[str, float] | None = None,
    balancer: LoadBalancer | None = None,
    tokens_per_slot: int | None = TOKENS_PER_SLOT,
    seed: int = 0,
) -> VirtualFleet:
    """A fleet as a gateway would set it up."""
    settings = FleetSettings(seed=seed, max_node_utilization=UTILIZATION, slow_start_s=30.0)
    made = VirtualFleet(
        make_strategy(strategy, RoutingSettings()), settings=settings, queue=queue, shares=shares, balancer=balancer
    )
    for number, size in enumerate(slots):
        capacity = Capacity(slots=size, tokens=None if tokens_per_slot is None else size * tokens_per_slot)
        made.add(Node(f"n{number}", capacity=capacity), Behaviour(times=times))
    return made
