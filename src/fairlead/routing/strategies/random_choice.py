"""Random: each candidate in proportion to its weight.

Intent: no state, no herding, shares that follow the weights exactly in the long run. A node that warms up weighs less.
Wrong choice: when load or quality should count; the fullest of n nodes gets log n / log log n too much.
"""

from fairlead.domain import Task
from fairlead.load import weighted
from fairlead.rng import Draw
from fairlead.routing.contract import Choice, Pool, RoutingSettings


class RandomChoice:
    """Draws a candidate by weight."""

    name = "random"

    def __init__(self, settings: RoutingSettings) -> None:
        del settings  # nothing to set

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick at random by weight."""
        del task, now_s
        candidates = pool.candidates
        if pool.is_even:
            count = len(candidates)
            picked, share = candidates[draw.below(count)], 1 / count
        else:
            cumulative = pool.cumulative_weights
            index = weighted(cumulative, draw)
            picked = candidates[index]
            share = (cumulative[index] - (cumulative[index - 1] if index else 0.0)) / cumulative[-1]
        return Choice(picked, (picked,), (share,), "drawn by weight")

    def forget(self) -> None:
        """Nothing is kept."""
