"""Which node fails much more than its peers: a one-sided test of two proportions, and a gap that matters.

A node's failures f1 of n1 outcomes are compared with those of all its peers together, f2 of n2:

    z = (f1/n1 - f2/n2) / sqrt(p (1 - p) (1/n1 + 1/n2))   with p = (f1 + f2) / (n1 + n2)

(the pooled two-proportion z-test; Fleiss, Levin, Paik: "Statistical Methods for Rates and Proportions", 3rd ed., 2003,
ch. 3). It is an outlier from `Z` on, if its rate is also above by `GAP` and beyond `max_error_rate`. The judgement is
made every second on what is nearly the same window, so `Z` is far above the 1.64 of a single test: by chance it is
passed once in 30,000 independent windows.

Not the mean less k standard deviations of the nodes' rates, as Envoy has it: among n nodes nobody can be further than
(n - 1) / sqrt(n) standard deviations from the mean (Samuelson 1968), 1.15 for three of them.
"""

from collections.abc import Collection, Mapping
from math import sqrt

from fairlead.health.window import Figures

Z = 4.0
GAP = 0.1
"""Share of failures by which a node is above its peers at least."""
LEAST_NODES = 3
"""With fewer nobody can tell which one is odd."""


def z_of(failures: int, outcomes: int, peer_failures: int, peer_outcomes: int) -> float:
    """Return by how many standard errors a rate of failures is above that of the peers; 0.0 where none can be told."""
    total = outcomes + peer_outcomes
    share = (failures + peer_failures) / total
    if not 0.0 < share < 1.0:
        return 0.0
    error = sqrt(share * (1.0 - share) * (1.0 / outcomes + 1.0 / peer_outcomes))
    return (failures / outcomes - peer_failures / peer_outcomes) / error


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
