"""Lets tasks in: at once where there is room, else through the queue, else not at all.

    begin() --- room, and nobody more urgent waits for it ---> Send
       |
       | none                     a batch task that has not begun to answer gives way to a more urgent one: GiveWay
       v
     queue --- admit(), most urgent first ---> Send
       |
       +------ its wait is over, or hopeless ---> Refuse

The owner (a gateway, a simulation) gives each task a ticket, does what the actions say, and reports back; what befalls
other tasks than the one it asked about stands in `told`.
"""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from fairlead.admission import AdmissionQueue, Refusal, Waiting
from fairlead.admission.config import QueueConfig
from fairlead.domain import PriorityClass, Task, class_of
from fairlead.engine.dispatch import Action, Dispatch, GiveWay, Phase, Refuse, Send, Wait
from fairlead.engine.fleet import Fleet
from fairlead.errors import OverloadedError

LAST_NORMAL = 6
"""Levels beyond are batch."""
GIVES_WAY_S = 10.0
"""A batch task that was sent longer ago is let alone: too much of its work would be lost."""
NEVER_S = float("inf")

T = TypeVar("T", bound=Hashable)
Told = tuple[T, Action]


class Lobby(Generic[T]):
    """Who waits, who may be asked to give way, and what they are told."""

    def __init__(
        self, fleet: Fleet, config: QueueConfig | None = None, shares: Mapping[str, float] | None = None
    ) -> None:
        """`shares` are those of tenants while others wait too; 1.0 where nothing is said."""
        self.queue = AdmissionQueue(config, shares, competes=self._compete)
        self.look_again_s = NEVER_S
        """When a limit per minute gives way to somebody who waits; `admit` is worth a try then."""
        self.told: list[Told[T]] = []
        """Actions for others, to be done and cleared by the owner."""
        self._fleet = fleet
        self._at_work_tokens = 0
        """Charged for the tasks that were let in and are not over."""
        self._dispatches: dict[T, Dispatch] = {}
        self._yielding: dict[T, tuple[Dispatch, float]] = {}
        """Batch tasks that were sent and have not begun to answer, with when that was."""
        self._gave_way: set[T] = set()
        """Batch tasks that have given way once: nobody has to do it twice."""

    def begin(self, ticket: T, dispatch: Dispatch, now_s: float, size_bytes: int = 0) -> Action:
        """Start a task."""
        queue, task = self.queue, dispatch.task
        if len(queue) and not queue.may_barge(task, _line(task, is_again=False), now_s):
            dispatch.hold(now_s)
            self.look_again_s = now_s  # there may be room for both
            return self._enter(ticket, dispatch, now_s, size_bytes, None)
        return self.follow(ticket, dispatch, dispatch.begin(now_s), now_s, size_bytes)

    def follow(self, ticket: T, dispatch: Dispatch, action: Action, now_s: float, size_bytes: int = 0) -> Action:
        """Take note of an action that a dispatch gave, and return what is to be done."""
        if type(action) is Wait:
            if action.until_s is None:
                return self._enter(ticket, dispatch, now_s, size_bytes, action)
        elif type(action) is Send:
            task = dispatch.task
            if self._fleet.is_limited and not dispatch.charged_tokens:
                tokens = self._tokens(task, now_s)
                self._count(dispatch, tokens)
                self.queue.charge(task.tenant, tokens, now_s, task.priority)
            self._sent(ticket, dispatch, now_s)
        return action

    def admit(self, now_s: float) -> list[Told[T]]:
        """Let in whom there is room for, the most urgent first, and refuse whose wait is over."""
        self.look_again_s = NEVER_S
        admitted = self.overdue(now_s)
        turn = self.queue.round(now_s)
        while (waiting := turn.next()) is not None:
            ticket: T = waiting.ticket  # type: ignore[assignment]  # the queue does not care what its tickets are
            dispatch = self._dispatches[ticket]
            action = dispatch.resume(now_s)
            if type(action) is Wait and action.until_s is None:
                turn.no_room(waiting)
                self._note(action)
                continue
            del self._dispatches[ticket]
            if type(action) is Send:
                turn.admit(waiting)
                self._count(dispatch, waiting.tokens)
                self._sent(ticket, dispatch, now_s)
            else:  # nobody can take it any more
                self.queue.leave(ticket)
            admitted.append((ticket, action))
        return admitted

    def overdue(self, now_s: float) -> list[Told[T]]:
        """Refuse those whose wait is over."""
        refused: list[Told[T]] = []
        for waiting, refusal in self.queue.overdue(now_s):
            ticket: T = waiting.ticket  # type: ignore[assignment]  # as above
            refused.append((ticket, self._turn_away(ticket, _told(refusal), now_s)))
        return refused

    def began(self, ticket: T) -> None:
        """The answer has begun: from now on its task does not give way."""
        self._yielding.pop(ticket, None)

    def retry_after_s(self, task: Task, now_s: float) -> float:
        """Return when a task that waited in vain had better come again, in seconds."""
        return self.queue.retry_after_s(task.priority, self._tokens(task, now_s), now_s)

    def leave(self, ticket: T, dispatch: Dispatch, now_s: float, used_tokens: int | None = None) -> None:
        """The task is over, however it ended; `used_tokens` is what it took, where that is known."""
        if self._yielding:
            self._yielding.pop(ticket, None)
        if self._gave_way:
            self._gave_way.discard(ticket)
        if self._dispatches.pop(ticket, None) is not None:
            self.queue.leave(ticket)
        if dispatch.charged_tokens:
            self.queue.served(dispatch.charged_tokens, now_s)
            if used_tokens is not None:
                self.queue.settle(dispatch.task.tenant, dispatch.charged_tokens, used_tokens)
            self._count(dispatch, 0)

    # -- inside

    def _count(self, dispatch: Dispatch, tokens: int) -> None:
        """Let a task count for so many tokens, among those at work as well."""
        self._at_work_tokens += tokens - dispatch.charged_tokens
        dispatch.charged_tokens = tokens

    def _sent(self, ticket: T, dispatch: Dispatch, now_s: float) -> None:
        """Note a batch task that may have to give way; those that were sent last stand last."""
        if dispatch.task.priority > LAST_NORMAL and ticket not in self._gave_way:
            self._yielding.pop(ticket, None)
            self._yielding[ticket] = (dispatch, now_s)

    def _enter(self, ticket: T, dispatch: Dispatch, now_s: float, size_bytes: int, why: Wait | None) -> Action:
        task = dispatch.task
        if why is not None and class_of(task.priority) is not PriorityClass.BATCH and self._make_way(dispatch, now_s):
            action = dispatch.resume(now_s)
            if type(action) is not Wait:
                return self.follow(ticket, dispatch, action, now_s, size_bytes)
        if why is not None:
            self._note(why)
        line = _line(task, is_again=dispatch.attempts > 0)
        if dispatch.charged_tokens:  # it is charged again when it is let in
            self.queue.settle(task.tenant, dispatch.charged_tokens, 0)
            self._count(dispatch, 0)
        since_s = now_s - dispatch.queued_s  # what it was at work is no waiting
        waiting = Waiting(ticket, task, line, self._tokens(task, now_s), size_bytes, since_s)
        entry = self.queue.enter(
            waiting,
            now_s,
            self._fleet.usual_s(task.model),
            at_work_tokens=self._at_work_tokens,
            is_back=ticket in self._gave_way,
        )
        for evicted in entry.evicted:
            other: T = evicted.ticket  # type: ignore[assignment]  # as above
            self.told.append((other, self._turn_away(other, _told(self.queue.send_off(evicted, now_s)), now_s)))
        if entry.refusal is not None:
            dispatch.cancel(now_s)
            return Refuse(None, _told(entry.refusal))
        self._dispatches[ticket] = dispatch
        return Wait(None)

    def _make_way(self, dispatch: Dispatch, now_s: float) -> bool:
        """Let one batch task that has not begun to answer give its place to a more urgent one, where that helps."""
        if not self._yielding or len(self.queue) >= self.queue.config.max_waiting:
            return False
        for ticket, (other, sent_s) in reversed(self._yielding.items()):
            if now_s - sent_s > GIVES_WAY_S:
                return False
            if other.phase is Phase.SENT and other.decision is not None and dispatch.may_replace(other.decision, now_s):
                del self._yielding[ticket]
                self._gave_way.add(ticket)
                other.give_way(now_s)
                self.told.append((ticket, GiveWay()))
                return True
        return False

    def _turn_away(self, ticket: T, error: OverloadedError, now_s: float) -> Action:
        self._dispatches.pop(ticket).cancel(now_s)
        return Refuse(None, error)

    def _tokens(self, task: Task, now_s: float) -> int:
        """Return what a task is expected to take, as shares and waits are counted in."""
        models = self._fleet.lineup(task.model).models
        name = models[0].name if models else task.model
        return max(self._fleet.allocator.needs.estimate(task, name, now_s).tokens, 1)

    def _note(self, wait: Wait) -> None:
        if wait.look_again_s is not None:
            self.look_again_s = min(self.look_again_s, wait.look_again_s)

    def _compete(self, one: Hashable, other: Hashable) -> bool:
        """Tell whether two lines wait for the same nodes."""
        first, second = _model(one), _model(other)
        lineup = self._fleet.lineup
        return first == second or not lineup(first).nodes.isdisjoint(lineup(second).nodes)


def _line(task: Task, *, is_again: bool) -> tuple[str, frozenset[str], int, float | None, bool, bool, int]:
    """Return what a task waits for; who was turned away by a node before is a line of one.

    Batch work has lines of its own: it may find no room where a part of the nodes is kept free for others.
    """
    size = (task.input_tokens + task.output_tokens).bit_length()
    is_batch, is_short = task.priority > LAST_NORMAL, task.min_output_tokens is not None
    return (task.model, task.needs, size, task.max_cost_usd, is_batch, is_short, task.key if is_again else 0)


def _model(line: Hashable) -> str:
    return str(line[0]) if isinstance(line, tuple) else ""


def _told(refusal: Refusal) -> OverloadedError:
    return OverloadedError(refusal.message, refusal.reason, refusal.retry_after_s)
