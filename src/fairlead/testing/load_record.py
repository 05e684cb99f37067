"""How full and how even the nodes of a virtual fleet were, averaged over time."""

from math import sqrt

from fairlead.testing.virtual_fleet import VirtualFleet


class LoadRecord:
    """Watches a fleet from now on; the load of a node is the leased share of the resource nearest to its end."""

    def __init__(self, fleet: VirtualFleet) -> None:
        """Take the place of whatever else was called `on_change`."""
        self.highest = 0.0
        """The fullest that any node ever was."""
        self.seconds = 0.0
        self.backlogged_s = 0.0
        """How long somebody waited."""
        self._fleet = fleet
        self._at_s = fleet.time.now_s
        self._loads: list[float] = []
        self._is_backlogged = False
        self._load_s = 0.0
        self._deviation_s = 0.0
        self._backlogged_load_s = 0.0
        fleet.on_change = self.look

    @property
    def load(self) -> float:
        """Mean over nodes and time."""
        return self._load_s / self.seconds if self.seconds else 0.0

    @property
    def backlogged_load(self) -> float:
        """The same over the time during which somebody waited."""
        return self._backlogged_load_s / self.backlogged_s if self.backlogged_s else 0.0

    @property
    def deviation(self) -> float:
        """Coefficient of variation of the nodes' loads, averaged over the time during which anything was leased."""
        return self._deviation_s / self.seconds if self.seconds else 0.0

    def begin(self) -> None:
        """Forget what was: the fleet is in its usual state now."""
        self.look()
        self.seconds = self.backlogged_s = self._load_s = self._deviation_s = self._backlogged_load_s = 0.0

    def look(self) -> None:
        """Something has happened."""
        now_s = self._fleet.time.now_s
        if now_s > self._at_s:
            self._count(now_s - self._at_s)
            self._at_s = now_s
        self._loads = [state.account.utilization for state in self._fleet.fleet.nodes.values()]
        self._is_backlogged = len(self._fleet.lobby.queue) > 0
        self.highest = max(self.highest, *self._loads)

    def _count(self, seconds: float) -> None:
        loads = self._loads
        mean = sum(loads) / len(loads) if loads else 0.0
        if mean == 0.0:
            return
        self.seconds += seconds
        self._load_s += mean * seconds
        self._deviation_s += sqrt(sum([(load - mean) ** 2 for load in loads]) / len(loads)) / mean * seconds
        if self._is_backlogged:
            self.backlogged_s += seconds
            self._backlogged_load_s += mean * seconds
