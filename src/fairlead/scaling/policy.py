"""When nodes are started and stopped.

Every `interval_s` the policy asks what demand may be when a node started now would serve: one cold start and one
interval ahead. "May be" is the upper end of the forecast's interval, so the head room is learnt from how wrong
forecasts of this demand have been; it is passed in fewer windows than tasks may wait in, since what is late has to be
made up. Queueing theory turns the demand into slots, the tasks that wait now add those that clear them within one cold
start, and slots make nodes.

Up at once, nodes that are starting counted; down only below the most that was needed over the last `cooldown_s` (so
constant demand cannot make it flap), and only by nodes that are spare by a margin. A node is drained first, the one
with the fewest tasks, and stopped when its last task is over; drained nodes are taken back before others are started.
Starts that fail are tried again after a pause that doubles.

When it is the wrong choice: with cold starts longer than demand can be foreseen, keep `min_nodes` high instead.
"""

from collections import deque
from math import ceil
from typing import Any

from fairlead.demand.forecast import DemandForecaster, Forecast
from fairlead.scaling.config import ScalingConfig
from fairlead.scaling.moves import Situation, grow, shrink
from fairlead.scaling.queueing import slots_needed
from fairlead.scaling.view import FleetView, Phase, ScalingAction

MARGIN = 0.02
"""Share of the needed slots that must be spare besides a node before it is stopped."""
MAX_PAUSE_S = 300.0
"""Longest pause after starts that failed."""
LEAST_SHARE = 0.5
"""How often the forecast's interval holds at least, however many tasks may wait."""
MIN_WINDOW_S = 1.0
"""Shortest window in which demand is counted."""
SHORTAGE = 0.75
"""Share of the tasks that may wait too long, in which demand may pass what was planned for."""
_NEWEST = 0.3
"""Weight of the newest cold start where it was shorter than expected; a longer one is believed at once."""


class ScalingPolicy:
    """Plans how many nodes there should be: told arrivals and the fleet as it is, it says what to do."""

    def __init__(self, config: ScalingConfig | None = None, forecaster: DemandForecaster | None = None) -> None:
        """Begin knowing nothing of demand, unless the forecaster does. Raises ValueError where min exceeds max."""
        self.config = config = config or ScalingConfig()
        if config.min_nodes > config.max_nodes:
            raise ValueError(f"min_nodes is {config.min_nodes}, more than max_nodes, {config.max_nodes}")
        self.cold_start_s = config.cold_start_s
        """How long a node is expected to take from its start to its first task."""
        self.forecaster = forecaster or DemandForecaster(
            max(config.interval_s, MIN_WINDOW_S),
            ahead_s=self.horizon_s,
            share=max(LEAST_SHARE, 1.0 - 2.0 * SHORTAGE * (1.0 - config.wait_share)),
        )
        self._needs: deque[tuple[float, int]] = deque()
        self._begun_s: float | None = None
        self._task_s: float | None = None
        self._failures = 0
        self._paused_until_s: float | None = None

    @property
    def horizon_s(self) -> float:
        """How far ahead demand matters."""
        return self.cold_start_s + self.config.interval_s

    def observe(self, arrivals: float, now_s: float) -> None:
        """Count the tasks that came since the last call."""
        self.forecaster.add(arrivals, now_s)
        if arrivals:
            self._task_s = now_s

    def started(self, took_s: float) -> None:
        """Learn how long a node took until it served."""
        if took_s > 0:
            longer = took_s >= self.cold_start_s
            self.cold_start_s = took_s if longer else self.cold_start_s + _NEWEST * (took_s - self.cold_start_s)
        self._failures, self._paused_until_s = 0, None

    def failed(self, now_s: float) -> None:
        """Hear that a start failed: none is tried for a while, twice as long each time."""
        pause_s = min(self.config.interval_s * 2.0**self._failures, MAX_PAUSE_S)
        self._failures = min(self._failures + 1, 16)
        self._paused_until_s = now_s + pause_s

    def plan(self, fleet: FleetView, now_s: float) -> ScalingAction:
        """Say what to do now."""
        self._begun_s = now_s if self._begun_s is None else self._begun_s
        if fleet.waiting or any(node.busy for node in fleet.nodes):
            self._task_s = now_s
        demand = self.forecaster.forecast(self.horizon_s)
        active = tuple(node for node in fleet.nodes if node.phase is not Phase.DRAINING)
        have = sum(node.slots for node in active)
        floor = self._floor(fleet, demand, now_s)
        needed = self._needed(fleet, demand, have) if floor else 0
        self._remember(needed, now_s)
        now = Situation(
            active=active,
            drained=tuple(node for node in fleet.nodes if node.phase is Phase.DRAINING),
            needed=needed,
            reason=self._reason(fleet, demand, needed, len(active)),
        )
        missing = max(needed - have, (floor - len(active)) * self.config.node_slots)
        if missing > 0:
            is_paused = self._paused_until_s is not None and now_s < self._paused_until_s
            return grow(self.config, now, missing, is_paused=is_paused)
        return shrink(self.config, now, self._spare(have, now_s), floor)

    def snapshot(self) -> dict[str, Any]:
        """Return what was learnt as plain data for JSON."""
        return {"cold_start_s": self.cold_start_s, "forecaster": self.forecaster.snapshot()}

    def restore(self, data: dict[str, Any]) -> None:
        """Take up where a snapshot was made; raises ValueError when it was made with another interval."""
        self.forecaster.restore(data["forecaster"])
        self.cold_start_s = data["cold_start_s"]

    def _needed(self, fleet: FleetView, demand: Forecast, have: int) -> int:
        """Return the slots that are needed one horizon from now."""
        if fleet.service_s is None:
            return max(have, min(fleet.waiting, 1))
        config = self.config
        flow = slots_needed(
            demand.high,
            fleet.service_s,
            wait_target_s=config.wait_target_s,
            wait_share=config.wait_share,
            variability=fleet.variability,
        )
        return max(flow + ceil(fleet.waiting * fleet.service_s / self.cold_start_s), min(fleet.waiting, 1))

    def _floor(self, fleet: FleetView, demand: Forecast, now_s: float) -> int:
        """Return the fewest nodes there may be: none only while nothing is there and nothing is expected."""
        config = self.config
        if config.min_nodes or fleet.waiting or demand.mean * self.horizon_s >= 1.0:
            return max(config.min_nodes, 1)
        if self._task_s is None:
            return 0 if not fleet.nodes or config.scale_to_zero_after_s is not None else 1
        sleep_s = config.scale_to_zero_after_s
        return 0 if sleep_s is not None and now_s - self._task_s >= sleep_s else 1

    def _remember(self, needed: int, now_s: float) -> None:
        """Keep the needs of the last `cooldown_s` that no later one exceeds, the largest first."""
        needs = self._needs
        while needs and needs[-1][1] <= needed:
            needs.pop()
        needs.append((now_s, needed))
        while now_s - needs[0][0] > self.config.cooldown_s:
            needs.popleft()

    def _spare(self, have: int, now_s: float) -> float:
        """Return the slots that were not needed, by a margin, all through the last `cooldown_s`; none before that."""
        if self._begun_s is None or now_s - self._begun_s < self.config.cooldown_s:
            return 0.0
        return have - self._needs[0][1] * (1.0 + MARGIN)

    def _reason(self, fleet: FleetView, demand: Forecast, needed: int, active: int) -> str:
        if active < self.config.min_nodes:
            return f"min_nodes is {self.config.min_nodes}"
        if fleet.service_s is None:
            return f"no task has ended yet, so nothing is known of how long one takes ({fleet.waiting} wait)"
        return (
            f"up to {demand.high:.3g} tasks/s may come within {self.horizon_s:.0f} s ({demand.mean:.3g} expected), "
            f"{fleet.service_s:.3g} s each, {fleet.waiting} wait: {needed} slots"
        )
