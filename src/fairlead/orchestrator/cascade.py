"""Cascades: ask a cheap model first, check its answer, and ask the next one where it fails.

Each step is an exchange of its own, with its own decision, lease, record and metrics. All but the last are held; what
fails is dropped without a trace for the caller, and the last step streams live, as nothing could be done about it.

    ask 1 --- passes the checks ---> the caller
      |
      | fails a check, breaks off, or nobody can answer
      v
    ask 2 --- ... ---> ask n ---> the caller

Why it pays: with cost c1 << c2 and a share e of answers that fail, a task costs c1 + e * c2 instead of c2. See L. Chen,
M. Zaharia, J. Zou: "FrugalGPT", arXiv 2305.05176.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from fairlead.dialects import fault_of
from fairlead.dialects.answer_text import AnswerReader, AnswerText, asking_logprobs, without_logprobs
from fairlead.dialects.contract import Call, ErrorInfo, Operation
from fairlead.dialects.node_request import with_model
from fairlead.errors import BadRequestError, ConfigError, FairleadError, Fault, OverloadedError, RoutingError
from fairlead.orchestrator.checks import Check, CheckSettings, Plugin, Quoted, checks_of, first_failure
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.held_reply import HeldReply, LastReply, Store
from fairlead.orchestrator.orchestrator import STOPPING, ModelOrchestrator
from fairlead.orchestrator.reply import Reply
from fairlead.orchestrator.steps import Step
from fairlead.orchestrator.wishes import NO_WISHES, Wishes
from fairlead.routing.engine import ModelChoice

OnStep = Callable[[str, int, str, bool, str | None], None]
"""(cascade, step from 1, model as configured, whether its answer went to the caller, why not or what was wrong)."""

LEAST_TIME_S = 0.01
"""With less time left, no further model is asked."""
PLUGIN_OBJECTS = "its plugin objects"
NO_ANSWER = "no whole answer came"
"""What stands for words that may quote a prompt."""
_CALLERS = (Fault.CALLER, Fault.CONTENT_FILTER)
_OPERATIONS = (Operation.CHAT, Operation.COMPLETION)


class CascadeSettings(Protocol):
    """What a cascade is built from, such as a `CascadeConfig`."""

    @property
    def name(self) -> str:
        """The name that callers ask for."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """From cheap to dear."""
        ...

    @property
    def check(self) -> CheckSettings:
        """What an answer must pass."""
        ...


class _Plan(msgspec.Struct, frozen=True):
    """A cascade, ready to be run."""

    name: str
    models: tuple[str, ...]
    checks: tuple[Check, ...]
    reads_logprobs: bool


class Cascades:
    """The cascades of a gateway, by name."""

    def __init__(
        self,
        orchestrator: ModelOrchestrator,
        settings: Sequence[CascadeSettings],
        *,
        plugins: Mapping[str, Plugin] | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """Read all checks. Raises ConfigError, naming the cascade, for one that cannot work.

        `plugins` go before those registered by entry point; `on_step` must be quick and never raise.
        """
        self.orchestrator = orchestrator
        self.store = Store()
        self.on_step = on_step
        self._plans: dict[str, _Plan] = {}
        names = {one.name for one in settings}
        for one in settings:
            if one.name in self._plans:
                raise ConfigError(f"cascades: there are two by the name {one.name!r}")
            nested = [model for model in one.models if model in names]
            if nested:
                raise ConfigError(f"cascade {one.name!r}: {nested[0]!r} is a cascade itself; name its models instead")
            if len(one.models) < 2:
                raise ConfigError(f"cascade {one.name!r}: needs two models at least")
            try:
                checks = checks_of(one.check, plugins or {})
            except FairleadError as error:
                raise ConfigError(f"cascade {one.name!r}: {error}") from None
            self._plans[one.name] = _Plan(one.name, one.models, checks, one.check.min_mean_logprob is not None)

    @property
    def models(self) -> dict[str, tuple[str, ...]]:
        """Cascade -> its models, from cheap to dear."""
        return {name: plan.models for name, plan in self._plans.items()}

    def has(self, name: str) -> bool:
        """Tell whether there is a cascade by this name."""
        return name in self._plans

    def begin(self, call: Call, reply: Reply, wishes: Wishes = NO_WISHES, head: bytes = b"") -> "CascadeRun | Exchange":
        """Begin what a call asks for: a cascade, or a single exchange. Raises BadRequestError as `submit` does."""
        if call.model in self._plans:
            return self.submit(call, reply, wishes, head)
        orchestrator = self.orchestrator
        if not self._plans or call.operation not in _OPERATIONS:
            return orchestrator.submit(call, reply, wishes, head)
        task = orchestrator.task_of(call, wishes)
        try:
            choice = orchestrator.fleet.model_choice(task, orchestrator.clock())
        except RoutingError:  # the exchange will find the same, and tell the caller
            choice = None
        if choice is None or choice.cascade is None:
            return orchestrator.submit(call, reply, wishes, head, task=task)
        wishes = msgspec.structs.replace(wishes, category=task.category)
        return self.submit(call, reply, wishes, head, choice)

    def submit(
        self,
        call: Call,
        reply: Reply,
        wishes: Wishes = NO_WISHES,
        head: bytes = b"",
        choice: ModelChoice | None = None,
    ) -> "CascadeRun":
        """Begin the first step, as `ModelOrchestrator.submit` begins an exchange.

        `choice` is what chose the cascade where the call does not name it itself, such as for `auto`. Raises
        BadRequestError for a call whose answer is no text that could be checked.
        """
        name = None if choice is None else choice.cascade
        plan = self._plans[name or call.model]
        if call.operation not in _OPERATIONS:
            message = f"{plan.name} is a cascade, which answers chats and completions only; ask for a model by name"
            raise BadRequestError(message, "model")
        run = CascadeRun(self, plan, call, reply, wishes, head, choice)
        run.start()
        return run


class CascadeRun:
    """One task on its way through a cascade."""

    def __init__(
        self,
        cascades: Cascades,
        plan: _Plan,
        call: Call,
        reply: Reply,
        wishes: Wishes,
        head: bytes,
        choice: ModelChoice | None = None,
    ) -> None:
        self._cascades = cascades
        self._choice = choice
        self._orchestrator = orchestrator = cascades.orchestrator
        self._plan = plan
        self._call = call
        self._reply = reply
        self._wishes = wishes
        self._head = head
        self._number = 0
        self._exchange: Exchange | None = None
        self._held: HeldReply | None = None
        self._asks_logprobs = False
        self._soon: asyncio.Handle | None = None
        limit_s = orchestrator.timeouts_of_calls.total_s
        if wishes.deadline_after_s is not None:
            limit_s = min(limit_s, wishes.deadline_after_s)
        self._deadline_s = orchestrator.clock() + limit_s
        self.is_over = False

    def start(self) -> None:
        """Ask the first model."""
        self._ask()

    def cancel(self) -> None:
        """The caller went away: stop the step under way."""
        if not self.is_over:
            self._end()
            if self._soon is not None:
                self._soon.cancel()
            if self._exchange is not None:
                self._exchange.cancel()

    def on_pressure(self, is_high: bool) -> None:
        """Take no more from the node while the caller reads too slowly."""
        if self._exchange is not None:
            self._exchange.on_pressure(is_high)

    # -- what replies tell

    def on_answer(self, exchange: Exchange, answer: AnswerText | None) -> None:
        """Check a whole answer: release it, or ask the next model."""
        held = self._held
        if held is None or self.is_over:
            return
        reason: str | None = "the answer cannot be read"
        if answer is not None:
            reason = first_failure(self._plan.checks, self._call.prompt, answer)
        if reason is None:
            held.release()
            self.on_sent(exchange, None)
        else:
            late = ErrorInfo(504, f"the time is over and {reason}", "timeout_error", "timeout")
            self._escalate(exchange, reason, PLUGIN_OBJECTS if isinstance(reason, Quoted) else reason, late, None)

    def on_failure(self, exchange: Exchange, error: ErrorInfo, retry_after_s: float | None) -> None:
        """Ask the next model, unless it is the request itself that was wrong."""
        if self.is_over:
            return
        is_callers = exchange.status >= 400 and fault_of(exchange.status, error) in _CALLERS
        if _is_beyond_limit(exchange) or (is_callers and not self._asks_logprobs):
            self._reply.refuse(exchange, error, retry_after_s)
            self._end()
            _note(exchange, error.message, NO_ANSWER)  # it says nothing of the cascade, so nobody learns from it
        else:
            self._escalate(exchange, error.message, NO_ANSWER, error, retry_after_s)

    def on_sent(self, exchange: Exchange, reason: str | None) -> None:
        """The caller has its answer, or its error."""
        self._end()
        self._tell(exchange, reason, None if reason is None else NO_ANSWER)

    # -- inside

    def _ask(self) -> None:
        self._number += 1
        plan, orchestrator = self._plan, self._orchestrator
        model, total = plan.models[self._number - 1], len(plan.models)
        is_last = self._number == total
        asking = None if is_last else self._body_with_logprobs(model)
        self._asks_logprobs = asking is not None
        call = self._call if asking is None else msgspec.structs.replace(self._call, body=asking)
        call = msgspec.structs.replace(call, model=model, body=with_model(call, model))
        reply: Reply
        if is_last:
            reply = LastReply(self._reply, self)
        else:
            clean = None if asking is None else lambda data: without_logprobs(call, data)
            reply = self._held = HeldReply(self._reply, self, self._cascades.store, AnswerReader(call), clean)
        wishes = self._wishes if self._exchange is None else self._wishes_left(self._exchange)
        step = Step(plan.name, self._number, total, asked_for=self._call.model, choice=self._choice)
        self._exchange = orchestrator.submit(call, reply, wishes, self._head, step)

    def _ask_next(self) -> None:
        last = self._exchange
        if self.is_over:
            return
        try:
            self._ask()
        except Exception:
            if last is not None:
                self._end()
                self._reply.refuse(last, ErrorInfo(500, "the next model of the cascade could not be asked"), None)
            raise  # the loop logs it

    def _escalate(
        self, exchange: Exchange, reason: str, outline: str, late: ErrorInfo, retry_after_s: float | None
    ) -> None:
        """Ask the next model once this exchange has given back what it holds; `late` is for when no time is left."""
        if self._held is not None:
            self._held.drop()
        is_stopping = self._orchestrator.is_stopping
        if is_stopping or self._orchestrator.clock() >= self._deadline_s - LEAST_TIME_S:
            if is_stopping:
                late, retry_after_s = STOPPING, 1.0
            self._reply.refuse(exchange, late, retry_after_s)
            self._end()
        self._tell(exchange, reason, outline)
        if not self.is_over:
            self._soon = self._orchestrator.loop.call_soon(self._ask_next)

    def _tell(self, exchange: Exchange, reason: str | None, outline: str | None) -> None:
        number = _note(exchange, reason, outline)
        if self._cascades.on_step is not None:
            model = self._plan.models[number - 1]
            self._cascades.on_step(self._plan.name, number, model, reason is None, reason)

    def _end(self) -> None:
        self.is_over = True
        if self._held is not None:
            self._held.drop()

    def _wishes_left(self, last: Exchange) -> Wishes:
        """Return the wishes less the time and the money that the steps so far have taken."""
        wishes = self._wishes
        left_s = max(self._deadline_s - self._orchestrator.clock(), 0.0)
        wishes = msgspec.structs.replace(wishes, category=last.task.category, deadline_after_s=left_s)
        price = last.decisions[-1].candidate.model.price if last.decisions else None
        if wishes.max_cost_usd is not None and price is not None and last.usage is not None:
            spent_usd = price.cost_usd(last.usage.input_tokens, last.usage.output_tokens)
            wishes.max_cost_usd = max(wishes.max_cost_usd - spent_usd, 0.0)
        self._wishes = wishes
        return wishes

    def _body_with_logprobs(self, model: str) -> bytes | None:
        """Ask for log-probabilities where a check reads them and all that is known of the model says that it can."""
        if not self._plan.reads_logprobs:
            return None
        known = [one.model.capabilities for one in self._orchestrator.fleet.members(model)]
        if not known or not all(one is not None and "logprobs" in one for one in known):
            return None
        return asking_logprobs(self._call)


def _is_beyond_limit(exchange: Exchange) -> bool:
    """Tell whether the caller's key allows no more: another model would be no way round that."""
    return isinstance(exchange.error, OverloadedError) and exchange.error.reason == "limit"


def _note(exchange: Exchange, reason: str | None, outline: str | None) -> int:
    """Keep why a step's answer was not taken, for its record; returns the step's number."""
    step = exchange.step
    if step is None:
        return 1
    step.reason, step.outline = reason, outline
    return step.number
