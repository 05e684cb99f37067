"""Hybrid: affinity and performance, mixed by how much evidence there is. The default.

Intent: good from the first task and better with every outcome. Score = t x affinity + (1 - t) x performance, with
trust t = n / (n + 5) for n remembered outcomes of the candidate in the task's category: a specialist is believed once
it has shown its skill, and until then what is known of it overall counts. Scores within 0.05 count as equal and the
least loaded of them is taken, so equal nodes share evenly. Sessions stay on their node until it is saturated, and
conversations where they are held until the wait there costs more than that saves (`routing.keeping`); a share of tasks
(at most 10 %) goes to newcomers, and to candidates that may be as good as the best.
Wrong choice: when you need an order that can be predicted; use round_robin.
"""

from fairlead.domain import Task
from fairlead.rng import Draw
from fairlead.routing.contract import Choice, Pool, RoutingSettings, shortlist, without_exploring
from fairlead.routing.keeping import Keeper

TOLERANCE = 0.05
FACTORS = ("affinity", "performance")


class Hybrid:
    """Takes the highest mix of affinity and performance."""

    name = "hybrid"

    def __init__(self, settings: RoutingSettings) -> None:
        self._curious = Keeper(settings, tolerance=TOLERANCE)
        content = without_exploring(settings)
        self._content = Keeper(content, tolerance=TOLERANCE, sessions=self._curious.sessions)
        self.explore(is_on=True)

    def explore(self, *, is_on: bool) -> None:
        """Give candidates of which little is known a share of the tasks, or not; sessions stay where they are."""
        self._keeper = self._curious if is_on else self._content
        self._odds = self._keeper.propensity

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick the session's node or the prompt's, else the best mix that is not saturated."""
        keeper, compared = self._keeper, shortlist(pool, now_s, draw)
        is_priced = task.prefix and keeper.prefixes is not None
        if is_priced:
            compared = keeper.with_holders(task, pool, compared, now_s)
        category = task.category
        standings = [one.standings.get(category) or one.standing(category) for one in compared]
        scores = [standing.mixed_score for standing in standings]
        if is_priced:
            picked, why, equals, promised = keeper.place(task, pool, compared, standings, scores, now_s, draw)
        else:
            picked, why, equals = keeper.pick(task.session, pool, compared, standings, scores, now_s, draw)
            promised = 0
        why = why or "best mix of affinity and performance"
        return Choice(picked, compared, scores, why, FACTORS, standings, self._odds, equals, promised)

    def forget(self) -> None:
        """Drop the sessions, and what nodes hold of prompts."""
        self._keeper.forget()
