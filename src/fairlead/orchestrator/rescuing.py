"""An answer that broke after its caller got a part of it: how a node is asked to finish it, and when nobody can be.

the node is known to go on from a text    it is given the text so far, and goes on                (continued)
it is not                                 it says it all again; joined where it says the same     (spliced)
it says something else                    the caller is told, if it asked for that, and starts over (restarted)
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from fairlead.dialects.continued_relay import ContinuedRelay, RescueMode
from fairlead.dialects.continuing import can_continue, continued
from fairlead.dialects.contract import Call, ErrorInfo, Operation, Relay
from fairlead.dialects.kept import NEVER_KEPT, KeptAnswer
from fairlead.domain.rescue import Continuation, Rescue
from fairlead.engine.dispatch import Action
from fairlead.engine.events import Rescued
from fairlead.engine.faults import TREATMENTS
from fairlead.errors import BadRequestError, Fault
from fairlead.orchestrator.attempt import Attempt
from fairlead.orchestrator.owner import Owner
from fairlead.orchestrator.steps import RescueStep
from fairlead.orchestrator.target import Target
from fairlead.routing.candidate import Candidate

if TYPE_CHECKING:
    from fairlead.orchestrator.exchange import Exchange

_REJECTIONS = (Fault.CALLER, Fault.UNSUPPORTED, Fault.NOT_FOUND)
"""What a node that cannot go on from an assistant's words says of them."""
_CANNOT = (None, Continuation.NONE)
NOBODY_ELSE = "no other node could go on with an answer of this kind"


class Plan(msgspec.Struct, frozen=True):
    """How one node is asked to finish an answer."""

    target: Target
    mode: RescueMode
    call: Call
    """What the node is asked."""


class Rescuer:
    """Keeps what the caller has of one answer, and lets other nodes finish it."""

    __slots__ = ("_broken_on", "_first_model", "broken", "call", "kept", "plan", "said_tokens", "steps")

    def __init__(self, call: Call, first_model: str) -> None:
        self.call = call
        self.kept = KeptAnswer(call)
        self._first_model = first_model
        self.said_tokens = 0
        """Of the answer, those that the caller has from attempts that broke."""
        self.plan: Plan | None = None
        """How the attempt under way goes on; None while the answer is the first node's own."""
        self._broken_on: Candidate | None = None
        self.broken: ErrorInfo | None = None
        """What broke the answer first: what came of trying to mend it hides nothing."""
        self.steps: list[RescueStep] = []

    def why_not(self, fault: Fault) -> str | None:
        """Say why nobody can finish the answer; None where somebody may."""
        if not TREATMENTS[fault].moves_on:
            return f"another node could not do better ({fault.value})"
        return self.kept.why_not

    def broke(self, attempt: Attempt, info: ErrorInfo) -> None:
        """Take note of an attempt that ended in the middle."""
        if self.broken is None:
            self.broken = info
        if attempt.has_begun:
            self._broken_on = attempt.decision.candidate
            is_further = self.plan is not None and self.plan.mode is RescueMode.CONTINUE
            self.said_tokens = attempt.relay.chunks + (self.said_tokens if is_further else 0)

    def ask(self, target: Target) -> None:
        """Plan how a node finishes the answer: it goes on from the text where it is known to, else says it again."""
        self.plan = Plan(target, RescueMode.SPLICE, self.call)
        text, call = self.kept.text, self.call
        how = target.continuation or Continuation.NONE
        if call.operation is Operation.COMPLETION:
            how = Continuation.TRAILING  # a longer prompt is all it takes
        if how is Continuation.NONE or not text:
            return
        try:
            if can_continue(call, how):
                asked = continued(call, text, how, self.said_tokens)
                self.plan = Plan(target, RescueMode.CONTINUE, asked)
        except BadRequestError:  # it was sent as it stands, but nothing can be added to it
            return

    def ask_otherwise(self, fault: Fault, *, may_restart: bool) -> bool:
        """Plan another way to ask the same node, where it only refuses this one; False where there is none.

        A node that rejects the beginning of an answer is not given one again.
        """
        plan = self.plan
        if plan is None:
            return False
        if plan.mode is RescueMode.CONTINUE and (fault in _REJECTIONS or fault is Fault.DIVERGED):
            if fault in _REJECTIONS and self.call.operation is Operation.CHAT:
                plan.target.continuation = Continuation.NONE
            self.plan = Plan(plan.target, RescueMode.SPLICE, self.call)
        elif plan.mode is not RescueMode.RESTART and fault is Fault.DIVERGED and may_restart:
            self.plan = Plan(plan.target, RescueMode.RESTART, self.call)
        else:
            return False
        return True

    def relay(self, inner: Relay, to: Candidate) -> Relay:
        """Return the relay that joins the answer of the node that is asked now to what the caller has."""
        plan = self.plan
        if plan is None:
            return inner
        note: dict[str, object] = {"node": to.node.name}
        if to.model.name != self._first_model:
            note["model"] = to.model.name
        return ContinuedRelay(inner, self.kept, plan.mode, note, said_tokens=self.said_tokens)

    def left_of(self, limit: int) -> int:
        """Return what is left of a limit of tokens for the node that is asked now."""
        if self.plan is None or self.plan.mode is not RescueMode.CONTINUE:
            return limit
        return max(limit - self.said_tokens, 1)

    def took_over(self, task: str, to: Candidate, now_s: float) -> Rescued:
        """Note that another node goes on now."""
        how = RescueMode.SPLICE.value if self.plan is None else self.plan.mode.value
        size, names = len(self.kept.text.encode()), ((self._broken_on or to).node.name, to.node.name, to.model.name)
        self.broken = None  # mended: what breaks from here on is told of by itself
        self.steps.append(RescueStep(*names, how, size))
        return Rescued(
            at_s=now_s, task=task, node=names[0], to_node=names[1], to_model=names[2], how=how, kept_bytes=size
        )


def unable_to_continue(call: Call, targets: Mapping[str, Target]) -> frozenset[str]:
    """Return the nodes that would have to say the whole answer again."""
    try:
        if call.operation is Operation.COMPLETION and can_continue(call, Continuation.NONE):
            return frozenset()
    except BadRequestError:  # it was sent as it stands, but nothing can be added to it
        pass
    return frozenset(name for name, target in targets.items() if target.continuation in _CANNOT)


def rescuers_of(orchestrator: Owner, exchange: "Exchange") -> Rescue:
    """Return who may finish the answer: as its caller wishes, else as configured."""
    wish = exchange.wishes.rescue
    return orchestrator.rescue if wish is None else wish


def may_be_rescued(orchestrator: Owner, exchange: "Exchange", model: str) -> bool:
    """Tell whether it is worth keeping an answer that begins: another node may be there that could finish it."""
    who, fleet = rescuers_of(orchestrator, exchange), orchestrator.fleet
    if who is Rescue.NONE or not NEVER_KEPT.isdisjoint(exchange.call.needs):
        return False
    return len(fleet.nodes if who is Rescue.ANY_MODEL else fleet.models.get(model, ())) > 1


def mend(
    orchestrator: Owner,
    exchange: "Exchange",
    attempt: Attempt,
    fault: Fault,
    info: ErrorInfo,
    *,
    is_late: bool,
) -> tuple[Action, str]:
    """Find another node that finishes an answer that broke; returns what is to be done, and why nobody can."""
    now_s, rescuer = orchestrator.clock(), exchange.rescuer
    is_off = rescuers_of(orchestrator, exchange) is Rescue.NONE
    latency_s, why = now_s - attempt.sent_s, "rescue is off" if is_off else NOBODY_ELSE
    if rescuer is not None:
        rescuer.broke(attempt, info)
        why = rescuer.why_not(fault) or ""
    if is_late:
        why = "its time is over"
    if why:
        return exchange.dispatch.fail(fault, now_s, latency_s, is_relayed=True), why
    unable = unable_to_continue(exchange.call, orchestrator.targets)
    return exchange.dispatch.rescue(fault, now_s, latency_s, rescuers_of(orchestrator, exchange), unable), ""
