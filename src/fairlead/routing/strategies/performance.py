"""Performance: the candidate that has done best lately.

Intent: send work where it succeeds and comes back soon. Score = 0.7 x expected success + 0.3 x speed, both decayed
(`routing.evidence`), both absolute, so a 1 % gap never counts like a tenfold one; scores within 0.01 count as equal
and the least loaded of them is taken. Saturated nodes are passed over. A share of tasks (at most 10 %)
goes to newcomers, and to candidates that may be as good as the best.
Wrong choice: when a category needs a specialist that is slow; use affinity or hybrid.
"""

from fairlead.domain import Task
from fairlead.rng import Draw
from fairlead.routing.contract import Choice, Pool, RoutingSettings, shortlist, without_exploring
from fairlead.routing.scored import Explorer

TOLERANCE = 0.01
FACTORS = ("performance",)


class Performance:
    """Takes the highest decayed success and speed."""

    name = "performance"

    def __init__(self, settings: RoutingSettings) -> None:
        self._curious = Explorer(settings, TOLERANCE)
        self._content = Explorer(without_exploring(settings), TOLERANCE)
        self.explore(is_on=True)

    def explore(self, *, is_on: bool) -> None:
        """Give candidates of which little is known a share of the tasks, or not."""
        self._explorer = self._curious if is_on else self._content
        self._odds = self._explorer.propensity

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick the best performer that is not saturated."""
        del task
        compared = shortlist(pool, now_s, draw)
        standings = [one.overall for one in compared]
        scores = [standing.performance_score for standing in standings]
        picked, why, equals = self._explorer.pick(compared, standings, scores, now_s, draw)
        why = why or "best performance"
        return Choice(picked, compared, scores, why, FACTORS, standings, self._odds, equals)

    def forget(self) -> None:
        """Nothing is kept here; evidence belongs to the candidates."""
