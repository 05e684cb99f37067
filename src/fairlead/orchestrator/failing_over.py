"""What becomes of the tasks on a node that is left.

has begun to answer     let finish; where the node is dead and the stream has been silent, another node finishes it
has not                 sent elsewhere at once where the node is down; let finish where it is drained or ejected

Nobody is moved who could go nowhere: a node that is down may answer after all, a task that is refused will not be.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fairlead.domain.health import FailoverPlan, Incident
from fairlead.domain.rescue import Rescue
from fairlead.engine.fleet import Fleet
from fairlead.engine.node_state import NodeState
from fairlead.health import Circuit
from fairlead.health.failover import choose_targets
from fairlead.orchestrator.attempt import Attempt
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.rescuing import rescuers_of

if TYPE_CHECKING:
    from fairlead.orchestrator.orchestrator import ModelOrchestrator

SILENT_S = 1.0
"""A stream of a dead node that has brought nothing for longer is not waited for."""
_ALWAYS_S = float("-inf")
_NEVER_S = float("inf")


class Silence(msgspec.Struct, frozen=True):
    """How much of a node's work is lost."""

    is_dead: bool = False
    """It does not even answer when asked how it is, or somebody says that it is gone."""
    since_s: float = _NEVER_S
    """What was sent to it since then, and has brought nothing, is not waited for."""


class Outage(msgspec.Struct):
    """A node that is left."""

    incident: Incident
    plan: FailoverPlan
    is_told: bool
    """Whether somebody said so, and nothing here had seen it."""
    is_forgotten: bool = False
    """Whether nobody counts any more on the prompts that it held."""


class Work(NamedTuple):
    """A task, and what a node does for it."""

    exchange: Exchange
    attempt: Attempt


def is_out(state: NodeState) -> bool:
    """Tell whether a node is given no tasks."""
    return state.breaker.state is Circuit.OPEN or state.is_draining or state.is_ejected or state.is_unreachable


def is_back(state: NodeState) -> bool:
    """Tell whether a node is given tasks as any other."""
    return state.breaker.state is Circuit.CLOSED and not is_out(state)


def work_on(exchanges: Iterable[Exchange], node: str) -> list[Work]:
    """Return what a node works on, the most urgent first."""
    found = [
        Work(exchange, attempt)
        for exchange in exchanges
        for attempt in (exchange.attempt, exchange.rival)
        if attempt is not None and attempt.decision.candidate.node.name == node
    ]
    return sorted(found, key=lambda one: (one.exchange.task.priority, one.exchange.task.key))


def silence_of(state: NodeState, *, is_dead: bool, silent_since_s: float | None) -> Silence:
    """Say what of a node's work is lost.

    A circuit opens on failures in a row. Where the last of them was a first token that never came, the node has been
    silent since that task was sent (`silent_since_s`), and so has what was sent since; where it refused, what it took
    before may well be answered.
    """
    if is_dead:
        return Silence(is_dead=True, since_s=_ALWAYS_S)
    if state.breaker.state is Circuit.OPEN and silent_since_s is not None:
        return Silence(since_s=silent_since_s)
    return Silence()


def is_stuck(work: Work, silence: Silence, now_s: float) -> bool:
    """Tell whether nothing is to be expected of an attempt. A stream that flows is none, whatever checks say."""
    exchange, attempt = work
    if not _has_answered(exchange, attempt):
        return attempt.sent_s >= silence.since_s
    if not silence.is_dead or not exchange.call.stream or exchange.is_pressed or attempt.relay.finished:
        return False
    return now_s - attempt.last_s > SILENT_S


def may_move(orchestrator: "ModelOrchestrator", work: Work) -> bool:
    """Tell whether another node stands ready for a task, and it may be asked."""
    exchange, attempt = work
    if exchange.rival is not None:  # the other of the two goes on
        return True
    if exchange.dispatch.repeats + 1 >= orchestrator.max_attempts:
        return False
    candidate = attempt.decision.candidate
    name = exchange.task.model
    if exchange.has_begun:
        rescuer = exchange.rescuer
        if rescuer is None or rescuer.kept.why_not is not None:
            return False
        if rescuers_of(orchestrator, exchange) is not Rescue.ANY_MODEL:
            name = candidate.model.name
    return not orchestrator.fleet.lineup(name).nodes <= {candidate.node.name}


def plan_of(fleet: Fleet, state: NodeState, finishing: Iterable[Work], moving: Iterable[Work]) -> FailoverPlan:
    """Say who takes over from a node, model by model, and what becomes of its tasks.

    The strategy picks among the targets when a task is moved; those that share their fate with the node come last.
    """
    targets = {}
    for model in state.candidates:
        pool = fleet.lineup(model).pool
        targets[model] = choose_targets(state.node, [one.node for one in pool.candidates] if pool is not None else ())
    return FailoverPlan(
        node=state.node.name,
        targets=targets,
        finishing=tuple(one.exchange.task.id for one in finishing),
        moving=tuple(one.exchange.task.id for one in moving),
        stranded=tuple(model for model, nodes in targets.items() if not nodes),
    )


def _has_answered(exchange: Exchange, attempt: Attempt) -> bool:
    """Tell whether anything of the answer has come; a whole answer begins when it is nearly done."""
    if not exchange.call.stream:
        return bool(attempt.status)
    return attempt.has_begun or (exchange.has_begun and attempt.last_s > attempt.sent_s)
