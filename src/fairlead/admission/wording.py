"""Refusals in plain words, with numbers."""

from fairlead.admission.waiting import Refusal, Why


def turned_away(
    reason: Why, kind: str, *, wait_s: float, takes_s: float, allowed_s: float, retry_after_s: float
) -> Refusal:
    """Tell one who may not enter: its class, the wait to expect, what it takes, the longest wait, when to come."""
    match reason:
        case Why.DEADLINE:
            text = f"its deadline cannot be met: a {kind} task waits about {wait_s:.0f} s now"
            if takes_s:
                text += f", and then takes about {takes_s:.0f} s"
        case Why.TOO_LONG:
            text = f"a {kind} task would wait about {wait_s:.0f} s, and no more than {allowed_s:.0f} s are allowed now"
        case Why.FULL:
            text = f"the queue is full of work that is as urgent as this {kind} task, or more"
        case Why.SHED:
            text = f"{kind} tasks are not taken while there is more to do than the nodes can"
    return _refusal(reason, text, retry_after_s)


def sent_off(reason: Why, kind: str, waited_s: float, retry_after_s: float) -> Refusal:
    """Tell one who has waited: its class, how long that was, when to come again."""
    match reason:
        case Why.DEADLINE:
            text = f"its deadline passed after it had waited {waited_s:.0f} s for room"
        case Why.FULL:
            text = f"the queue is full, and the place of this {kind} task went to somebody else after {waited_s:.0f} s"
        case _:
            text = f"it has waited {waited_s:.0f} s for room, the longest that a {kind} task may"
    return _refusal(reason, text, retry_after_s)


def _refusal(reason: Why, text: str, retry_after_s: float) -> Refusal:
    return Refusal(reason, f"{text}; try again in {max(retry_after_s, 1.0):.0f} s", retry_after_s)
