"""How a queue stands, read off its parts."""

from fairlead.admission.ageing import CLASSES, KIND_OF, LEVELS
from fairlead.admission.fair_share import FairShare
from fairlead.admission.outlook import Outlook
from fairlead.admission.roster import Roster
from fairlead.admission.state import ClassState, TenantState
from fairlead.domain import PriorityClass
from fairlead.domain.priority import LEVELS as NAMED


def class_states(roster: Roster, outlook: Outlook, now_s: float) -> dict[PriorityClass, ClassState]:
    """Return the state of each class; those who wait count for the class that they came with."""
    return {kind: _class_state(number, roster, outlook, now_s) for number, kind in enumerate(CLASSES)}


def tenant_states(shares: FairShare) -> dict[str, TenantState]:
    """Return the state of each tenant that has an account."""
    whole = shares.weight_waiting
    return {
        name or "": TenantState(one.waiting, one.weight / whole if one.waiting and whole > 0 else 0.0, one.charged)
        for name, one in shares.tenants.items()
    }


def _class_state(number: int, roster: Roster, outlook: Outlook, now_s: float) -> ClassState:
    levels = [roster.at(level) for level in range(LEVELS) if KIND_OF[level] == number]
    size_bytes = sum(roster.bytes_at(level) for level in range(LEVELS) if KIND_OF[level] == number)
    waiting = [place.waiting for level in levels for place in level.values()]
    since_s = min((one.since_s for one in waiting), default=now_s)
    expected_s = outlook.wait_s(NAMED[CLASSES[number].value], 0, None, now_s)
    return ClassState(len(waiting), sum(one.tokens for one in waiting), size_bytes, now_s - since_s, expected_s)
