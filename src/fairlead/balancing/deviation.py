"""How unevenly nodes are loaded: the coefficient of variation of their levels."""

from collections.abc import Iterable
from math import fsum, sqrt

from fairlead.balancing.projection import Projection
from fairlead.domain.load import BalanceMetrics


class Spread:
    """Sums over the levels, from which the effect of one move follows at once."""

    __slots__ = ("_n", "_squares", "_sum", "deviation", "mean")

    def __init__(self, levels: Iterable[float]) -> None:
        levels = list(levels)
        self._n = len(levels) or 1
        self._sum = fsum(levels)
        self._squares = fsum(level * level for level in levels)
        self.mean = self._sum / self._n
        self.deviation = self._deviation(self._sum, self._squares)

    def after(self, before: tuple[float, float], after: tuple[float, float]) -> float:
        """Return the deviation once two levels have changed."""
        total = self._sum - sum(before) + sum(after)
        squares = self._squares - before[0] ** 2 - before[1] ** 2 + after[0] ** 2 + after[1] ** 2
        return self._deviation(total, squares)

    def _deviation(self, total: float, squares: float) -> float:
        mean = total / self._n
        if mean <= 0.0:
            return 0.0
        return sqrt(max(0.0, squares / self._n - mean * mean)) / mean


def metrics_of(nodes: list[Projection]) -> BalanceMetrics:
    """Return how evenly these nodes are loaded."""
    if not nodes:
        return BalanceMetrics()
    loads = {node.name: node.load for node in nodes}
    deviation = Spread(node.level for node in nodes).deviation
    return BalanceMetrics(deviation, fsum(loads.values()) / len(loads), max(loads.values()), min(loads.values()), loads)
