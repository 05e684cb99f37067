"""Whose fault an error is, and what follows: one table."""

from enum import StrEnum

import msgspec

from fairlead.errors import Fault


class Blame(StrEnum):
    """Who is at fault."""

    NODE = "node"
    PAIR = "pair"
    """This model on this node."""
    NOBODY = "nobody"
    """The caller, or nobody that routing could do anything about."""


class Treatment(msgspec.Struct, frozen=True):
    """What a fault leads to."""

    blame: Blame
    moves_on: bool
    """Another candidate may do better."""
    is_budgeted: bool = False
    """The node may have begun the work, so repeating it counts against the retry budget."""


TREATMENTS: dict[Fault, Treatment] = {
    Fault.CALLER: Treatment(Blame.NOBODY, moves_on=False),
    Fault.CONTENT_FILTER: Treatment(Blame.NOBODY, moves_on=False),
    Fault.CANCELLED: Treatment(Blame.NOBODY, moves_on=False),
    Fault.CONTEXT: Treatment(Blame.NOBODY, moves_on=True),
    Fault.UNSUPPORTED: Treatment(Blame.NOBODY, moves_on=True),
    Fault.DENIED: Treatment(Blame.PAIR, moves_on=True),
    Fault.NOT_FOUND: Treatment(Blame.PAIR, moves_on=True),
    Fault.LATE: Treatment(Blame.NOBODY, moves_on=True, is_budgeted=True),
    Fault.DIVERGED: Treatment(Blame.NOBODY, moves_on=True, is_budgeted=True),
    Fault.CONNECT: Treatment(Blame.NODE, moves_on=True),
    Fault.RATE_LIMITED: Treatment(Blame.NODE, moves_on=True, is_budgeted=True),
    Fault.UNAVAILABLE: Treatment(Blame.NODE, moves_on=True, is_budgeted=True),
    Fault.TRANSPORT: Treatment(Blame.NODE, moves_on=True, is_budgeted=True),
    Fault.TIMEOUT: Treatment(Blame.NODE, moves_on=True, is_budgeted=True),
    Fault.MALFORMED: Treatment(Blame.NODE, moves_on=True, is_budgeted=True),
}
