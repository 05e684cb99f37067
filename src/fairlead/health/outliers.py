"""Which node fails much more than its peers: a one-sided test of two proportions, and a gap that matters.

A node's failures f1 of n1 outcomes are compared with those of all its peers together, f2 of n2:

    z = (a(f1 / n1) - a(f2 / n2)) / sqrt(1 / n1 + 1 / n2)   with a(p) = 2 arcsin(sqrt(p))

(the two-proportion test on the arcsine scale; Cohen: "Statistical Power Analysis for the Behavioral Sciences", 2nd ed.,
1988, ch. 6). On that scale the variance is the same for all p. The pooled test on the plain scale takes chance for a
cause where few fail: 6 of 27 against 5 % is 4.1 there, though it happens twice in a thousand windows; here it is 2.6.

A node is an outlier from `Z` on, if its rate is also above by `GAP` and beyond `max_error_rate`. The judgement is made
every second on what is nearly the same window, so `Z` is far above the 1.64 of a single test.

Not the mean less k standard deviations of the nodes' rates, as Envoy has it: among n nodes nobody can be further than
(n - 1) / sqrt(n) standard deviations from the mean (Samuelson 1968), 1.15 for three of them.
"""

from collections.abc import Collection, Mapping
from math import asin, sqrt

from fairlead.health.window import Figures

Z = 4.0
GAP = 0.1
"""Share of failures by which a node is above its peers at least."""
LEAST_NODES = 3
"""With fewer nobody can tell which one is odd."""


def z_of(failures: int, outcomes: int, peer_failures: int, peer_outcomes: int) -> float:
    """Return by how many standard errors a rate of failures is above that of the peers."""
    apart = _scaled(failures / outcomes) - _scaled(peer_failures / peer_outcomes)
    return apart / sqrt(1.0 / outcomes + 1.0 / peer_outcomes)


def _scaled(share: float) -> float:
    return 2.0 * asin(sqrt(share))


def worst_outlier(
    figures: Mapping[str, Figures], max_error_rate: float, spared: Collection[str] = ()
) -> tuple[str, str] | None:
    """Return the node that stands out most, and in words how, or None where nobody does.

    `figures` are of the nodes that can be compared: those with enough outcomes. Those `spared` are compared with, and
    never returned.
    """
    if len(figures) < LEAST_NODES:
        return None
    failures = sum(one.failures for one in figures.values())
    outcomes = sum(one.outcomes for one in figures.values())
    found, furthest = None, Z
    for node, own in figures.items():
        peer_outcomes = outcomes - own.outcomes
        rate = own.failures / own.outcomes
        peers = (failures - own.failures) / peer_outcomes
        z = z_of(own.failures, own.outcomes, failures - own.failures, peer_outcomes)
        if node not in spared and z >= furthest and rate - peers >= GAP and rate > max_error_rate:
            found, furthest = (node, f"{rate:.0%} of {own.outcomes} tasks failed, {peers:.0%} on its peers"), z
    return found
