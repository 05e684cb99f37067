"""What follows from a report for what a node is taken to have."""

from fairlead.domain.report import NodeReport
from fairlead.domain.resources import Capacity


def learnt_capacity(report: NodeReport, declared: Capacity) -> Capacity:
    """Return the declared capacity, with the node's own word on slots and KV cache where nothing is declared."""
    return declared.over(Capacity(slots=report.slots, tokens=report.tokens))
