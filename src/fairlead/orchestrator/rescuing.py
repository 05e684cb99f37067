"""How a node is asked to finish an answer that broke elsewhere, and when nobody can be."""

from typing import TYPE_CHECKING

import msgspec

from fairlead.dialects.continued_relay import ContinuedRelay, RescueMode
from fairlead.dialects.continuing import can_continue, continued
from fairlead.dialects.contract import Call, Dialect, Operation, Relay
from fairlead.dialects.kept import KeptAnswer
from fairlead.domain.rescue import Continuation
from fairlead.engine.faults import TREATMENTS
from fairlead.errors import BadRequestError, Fault
from fairlead.orchestrator.target import Target
from fairlead.routing.candidate import Candidate

if TYPE_CHECKING:
    from fairlead.orchestrator.exchange import Exchange

_REJECTIONS = (Fault.CALLER, Fault.UNSUPPORTED, Fault.NOT_FOUND)
"""What a node that cannot go on from an assistant's words says of them."""


class Plan(msgspec.Struct, frozen=True):
    """How one node is asked to finish an answer."""

    kept: KeptAnswer
    target: Target
    mode: RescueMode
    call: Call
    """What the node is asked."""
    original: Call
    """What the caller asked."""
    how: Continuation = Continuation.NONE
    kept_bytes: int = 0
    said_tokens: int = 0

    def relay(self, inner: Relay, to: Candidate, first_model: str) -> Relay:
        """Return the relay that joins the node's answer to what the caller has."""
        note: dict[str, object] = {"node": to.node.name}
        if to.model.name != first_model:
            note["model"] = to.model.name
        return ContinuedRelay(inner, self.kept, self.mode, note, how=self.how, said_tokens=self.said_tokens)

    def anew(self, mode: RescueMode) -> "Plan":
        """Return the plan by which the same node says it all again."""
        return msgspec.structs.replace(self, mode=mode, call=self.original, how=Continuation.NONE)


def plan_of(exchange: "Exchange", kept: KeptAnswer, target: Target) -> Plan:
    """Return how a node finishes the answer: it goes on from the text where it is known to, else it says it again."""
    call, text = exchange.call, kept.text
    plan = Plan(kept, target, RescueMode.SPLICE, call, call, kept_bytes=len(text.encode()))
    plan = msgspec.structs.replace(plan, said_tokens=exchange.said_tokens)
    how = target.continuation or Continuation.NONE
    if call.operation is Operation.COMPLETION and call.dialect is target.backend.dialect:
        how = Continuation.TRAILING  # a longer prompt is all it takes
    if how is Continuation.NONE or not text:
        return plan
    try:
        if can_continue(call, how):
            asked = continued(call, text, how, plan.said_tokens)
            return msgspec.structs.replace(plan, mode=RescueMode.CONTINUE, call=asked, how=how)
    except BadRequestError:  # it was sent as it stands, but nothing can be added to it
        pass
    return plan


def other_plan(plan: Plan, fault: Fault, *, may_restart: bool) -> Plan | None:
    """Return another way to ask the same node, where it only refuses this one; None where there is none.

    A node that rejects the beginning of an answer is not given one again.
    """
    if plan.mode is RescueMode.CONTINUE and fault in _REJECTIONS:
        plan.target.continuation = Continuation.NONE
        return plan.anew(RescueMode.SPLICE)
    if plan.mode is not RescueMode.RESTART and fault is Fault.DIVERGED and may_restart:
        return plan.anew(RescueMode.RESTART)
    return None


def why_not(exchange: "Exchange", fault: Fault) -> str | None:
    """Say why nobody can finish an answer that broke; None where somebody may."""
    if not TREATMENTS[fault].moves_on:
        return f"another node could not do better ({fault.value})"
    if exchange.kept is None:
        return "rescue is off, or no other node has the model"
    return exchange.kept.why_not


def unable_to_continue(call: Call, targets: dict[str, Target]) -> frozenset[str]:
    """Return the nodes that would have to say the whole answer again."""
    if call.operation is Operation.COMPLETION and call.dialect is Dialect.OPENAI:
        return frozenset()
    cannot = (None, Continuation.NONE)
    return frozenset(name for name, target in targets.items() if target.continuation in cannot)
