"""Affinity: the candidate that has succeeded most in this category, and the node that knows this session.

Intent: let specialists emerge, and keep conversations where their cache is warm. Score = expected share of successes
in the task's category (decayed, 0.5 or the declared skill where nothing was seen). Sticky per node: a session stays
on its node, and a category on its best node, until *that node* is saturated, never by a gate for the whole fleet; a
conversation stays where it is held until the wait there costs more than that saves (`routing.keeping`). A share of
tasks (at most 10 %) goes to newcomers, and to candidates that may be as good as the best.
Wrong choice: when categories mean nothing for your models, or outcomes are not reported.
"""

from fairlead.domain import Task
from fairlead.rng import Draw
from fairlead.routing.contract import Choice, Pool, RoutingSettings, shortlist, without_exploring
from fairlead.routing.keeping import Keeper

FACTORS = ("affinity",)


class Affinity:
    """Takes the highest decayed success in the category, and keeps sessions where they are."""

    name = "affinity"

    def __init__(self, settings: RoutingSettings) -> None:
        self._curious = Keeper(settings, tolerance=0.0, hope="affinity_hope")
        self._content = Keeper(
            without_exploring(settings), tolerance=0.0, hope="affinity_hope", sessions=self._curious.sessions
        )
        self.explore(is_on=True)

    def explore(self, *, is_on: bool) -> None:
        """Give candidates of which little is known a share of the tasks, or not; sessions stay where they are."""
        self._keeper = self._curious if is_on else self._content
        self._odds = self._keeper.propensity

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick the session's node or the prompt's, else the best in the category that is not saturated."""
        keeper, compared = self._keeper, shortlist(pool, now_s, draw)
        is_priced = task.prefix and keeper.prefixes is not None
        if is_priced:
            compared = keeper.with_holders(task, pool, compared, now_s)
        category = task.category
        standings = [one.standings.get(category) or one.standing(category) for one in compared]
        scores = [standing.affinity_score for standing in standings]
        if is_priced:
            picked, why, equals, promised = keeper.place(task, pool, compared, standings, scores, now_s, draw)
        else:
            picked, why, equals = keeper.pick(task.session, pool, compared, standings, scores, now_s, draw)
            promised = 0
        why = why or "best in this category"
        return Choice(picked, compared, scores, why, FACTORS, standings, self._odds, equals, promised)

    def forget(self) -> None:
        """Drop the sessions, and what nodes hold of prompts."""
        self._keeper.forget()
