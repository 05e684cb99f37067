"""Hybrid: affinity and performance, mixed by how much evidence there is. The default.

Intent: good from the first task and better with every outcome. Score = t x affinity + (1 - t) x performance, with
trust t = n / (n + 5) for n remembered outcomes of the candidate in the task's category: a specialist is believed once
it has shown its skill, and until then what is known of it overall counts. Scores within 0.05 count as equal and the
least loaded of them is taken, so equal nodes share evenly. Sessions stay on their node until it is saturated; a share
of tasks (at most 10 %) goes to newcomers, and to candidates that may be as good as the best.
Wrong choice: when you need an order that can be predicted; use round_robin.
"""

from fairlead.domain import Task
from fairlead.rng import Draw
from fairlead.routing.contract import Choice, Pool, RoutingSettings, shortlist
from fairlead.routing.scored import Keeper

TOLERANCE = 0.05
FACTORS = ("affinity", "performance")


class Hybrid:
    """Takes the highest mix of affinity and performance."""

    name = "hybrid"

    def __init__(self, settings: RoutingSettings) -> None:
        self._keeper = Keeper(settings, tolerance=TOLERANCE)
        self._odds = self._keeper.propensity

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick the session's node, else the best mix that is not saturated."""
        compared = shortlist(pool, now_s, draw)
        category = task.category
        standings = [one.standings.get(category) or one.standing(category) for one in compared]
        scores = [standing.mixed_score for standing in standings]
        picked, why, equals = self._keeper.pick(task.session, pool, compared, standings, scores, draw)
        why = why or "best mix of affinity and performance"
        return Choice(picked, compared, scores, why, FACTORS, standings, self._odds, equals)

    def forget(self) -> None:
        """Drop the sessions."""
        self._keeper.sessions.clear()
