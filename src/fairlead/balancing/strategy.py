"""What is done about a spike, stage by stage.

| stage | refused | of the queue | affinity is worth | more nodes |
| --- | --- | --- | --- | --- |
| calm | | 1 | 1 | |
| rising | | 1 | 1/2 | |
| spike | batch | 1/2, or 1/4 from `SEVERE` times the usual rate on | 1/4 | wished |
| ramping down | batch in the first half | back to 1 in steps | back to 1 in steps | |

While the fleet is not full, nothing is refused and the queue keeps its length: arrivals alone do no harm.
"""

from fairlead.demand.spikes import Stage, Surge
from fairlead.domain import PriorityClass
from fairlead.domain.load import LoadStrategy

SEVERE = 5.0
"""Times the usual rate from which on a queue would be full of tasks that wait in vain."""
_BATCH = frozenset((PriorityClass.BATCH,))


def strategy_of(surge: Surge, *, is_full: bool) -> LoadStrategy:
    """Return what to do at this stage."""
    why = _why(surge, is_full=is_full)
    stage = surge.stage
    if stage is Stage.CALM:
        return LoadStrategy(stage=stage, why=why)
    if stage is Stage.RISING:
        return LoadStrategy(affinity_worth=0.5, stage=stage, why=why)
    is_spike = stage is Stage.SPIKE
    return LoadStrategy(
        shed=_BATCH if is_full and surge.eased < 0.5 else frozenset(),
        queue_share=_queue_share(surge) if is_full else 1.0,
        affinity_worth=0.25 + 0.75 * surge.eased,
        wants_more_nodes=is_spike,
        stage=stage,
        why=why,
    )


def _queue_share(surge: Surge) -> float:
    if surge.stage is not Stage.SPIKE:
        return 0.5 + 0.5 * surge.eased
    is_severe = surge.usual_per_s is not None and surge.rate_per_s >= SEVERE * surge.usual_per_s
    return 0.25 if is_severe else 0.5


def _why(surge: Surge, *, is_full: bool) -> str:
    if surge.usual_per_s is None:
        return "too early to say what is usual"
    grows = f", changing by {surge.acceleration_per_s2:+.1f}/s each second" if surge.stage is Stage.RISING else ""
    said = f"{surge.rate_per_s:.1f} arrivals/s, {surge.usual_per_s:.1f} usual{grows}"
    if surge.stage is Stage.RAMPING_DOWN:
        said += f"; {surge.eased:.0%} of what was held back is let in again"
    return said if is_full or surge.stage is Stage.CALM else said + "; the fleet is not full"
