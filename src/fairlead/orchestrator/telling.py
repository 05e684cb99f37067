"""What an exchange has to tell: events of what happened to its answer, and what an answer teaches."""

from typing import TYPE_CHECKING

from fairlead.engine.decision import Decision
from fairlead.engine.events import FailedOver, RescueFailed
from fairlead.errors import Fault
from fairlead.orchestrator.owner import Owner

if TYPE_CHECKING:
    from fairlead.orchestrator.exchange import Exchange

NOBODY_LEFT = "no other node was free for it, or able to"


def failed_over(exchange: "Exchange", fault: Fault, to: Decision, now_s: float) -> FailedOver:
    """Return that another node takes over from the one that failed the task."""
    before, after = exchange.decisions[-1].candidate, to.candidate
    return FailedOver(
        at_s=now_s,
        task=exchange.task.id,
        node=before.node.name,
        fault=fault.value,
        to_node=after.node.name,
        to_model=after.model.name,
    )


def rescue_failed(exchange: "Exchange", node: str, why: str, now_s: float) -> RescueFailed:
    """Return that the answer broke on a node, and why nobody could finish it."""
    return RescueFailed(at_s=now_s, task=exchange.task.id, node=node, why=why or NOBODY_LEFT)


def learn(orchestrator: Owner, exchange: "Exchange", first_token_s: float | None) -> None:
    """Let an answer teach how soon a node speaks, what it held of the prompt, and that it is there."""
    choice, usage = exchange.decisions[-1].choice, exchange.usage
    candidate, prefixes = choice.picked, orchestrator.prefixes
    if first_token_s is not None and orchestrator.hedger.config.enabled:
        orchestrator.hedger.observe(candidate.holder, first_token_s)
    if exchange.task.prefix and prefixes is not None:
        if first_token_s is not None:
            prefixes.record_first_token(max(exchange.task.input_tokens - choice.promised_tokens, 0), first_token_s)
        if usage is not None and usage.cached_tokens is not None:
            prefixes.record_hit(candidate.holder, usage.cached_tokens, choice.promised_tokens)
    if orchestrator.on_answer is not None:
        orchestrator.on_answer(candidate.node.name)
