"""A task from a program, in one call: what it asks as a request, and the answer as a value."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from fairlead.dialects import decode
from fairlead.dialects.answer_text import AnswerReader, ToolUse
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, Operation, ProviderError, Usage
from fairlead.dialects.said import read_all_said
from fairlead.domain import TaskCategory
from fairlead.errors import BadRequestError, FairleadError, TaskFailedError
from fairlead.orchestrator.steps import RescueStep

if TYPE_CHECKING:
    from fairlead.orchestrator.exchange import Exchange

Prompt = str | Sequence[Mapping[str, Any]]
"""A text that a user says, or the messages of a talk in OpenAI's words."""
OnText = Callable[[str], None]
"""Is given each piece of the answer as it comes; must be quick."""


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a task."""

    id: str
    """Under which its decision is known."""
    text: str
    tool_calls: tuple[ToolUse, ...] = ()
    category: TaskCategory
    model: str
    """Which model answered, and where."""
    node: str
    usage: Usage
    cost_usd: float | None
    """None where no price is known."""
    latency_s: float
    first_token_s: float | None
    queued_s: float
    attempts: int
    """Nodes asked, the one that answered included."""
    rescues: tuple[RescueStep, ...] = ()
    """Who took over, where the answer broke in the middle."""


def call_of(prompt: Prompt, model: str, fields: Mapping[str, Any]) -> Call:
    """Return the request that a task is: a streamed chat. Raises BadRequestError for what cannot be one."""
    if not isinstance(prompt, str) and not (isinstance(prompt, Sequence) and prompt):
        raise BadRequestError("a prompt is a text, or a list of messages such as {'role': 'user', 'content': '...'}")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    body = msgspec.json.encode({**fields, "model": model, "messages": messages, **streamed})
    return decode(Dialect.OPENAI, Operation.CHAT, "/v1/chat/completions", body)


class Collected:
    """A reply that gathers the answer for whoever awaits it."""

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop, on_text: OnText | None = None) -> None:
        self.done: asyncio.Future[TaskResult] = loop.create_future()
        self._reader = AnswerReader(call)
        self._on_text = on_text
        self._texts: list[str] = []
        self._exchange: Exchange | None = None

    def whole(self, exchange: "Exchange", body: bytes) -> None:
        """Take a complete answer."""
        self.begin(exchange, body)
        self.end()

    def begin(self, exchange: "Exchange", first: bytes) -> None:
        """Take the first piece of a streamed answer."""
        self._exchange = exchange
        self.write(first)

    def write(self, data: bytes) -> None:
        """Take a further piece."""
        try:
            self._reader.feed(data)
            for said in read_all_said(Dialect.OPENAI, data):
                if said.is_restart:
                    self._texts.clear()
                if said.text:
                    self._texts.append(said.text)
                    self._tell(said.text)
        except ProviderError as error:  # an event carries no status
            status = error.info.status if self._exchange is None else self._exchange.status
            self._fail(self._failed(msgspec.structs.replace(error.info, status=status)))
        except FairleadError as error:
            self._fail(self._failed(ErrorInfo(502, f"the answer cannot be read: {error}")))

    def _tell(self, text: str) -> None:
        """Give a piece to the caller's own function; what that raises is the caller's, and ends the task."""
        if self._on_text is not None:
            try:
                self._on_text(text)
            except Exception as error:  # noqa: BLE001
                self._on_text = None
                self._fail(error)

    def end(self) -> None:
        """The answer is complete; its figures are known once the exchange is over."""
        exchange, self._exchange = self._exchange, None  # neither is to keep the other for the garbage collector
        if exchange is not None:
            exchange.when_over(self._finish)

    def break_off(self) -> None:
        """The answer broke, and nobody could finish it."""
        self._fail(self._failed(ErrorInfo(502, "the answer broke off")))

    def refuse(self, exchange: "Exchange", error: ErrorInfo, retry_after_s: float | None) -> None:
        """Nobody could answer."""
        self._exchange = exchange
        self._fail(self._failed(error, retry_after_s))

    def _failed(self, error: ErrorInfo, retry_after_s: float | None = None) -> TaskFailedError:
        code = None if error.code is None else str(error.code)
        task_id = "" if self._exchange is None else self._exchange.task.id
        return TaskFailedError(error.message, error.status, code, retry_after_s, task_id)

    def _finish(self, exchange: "Exchange") -> None:
        if self.done.done():
            return
        candidate, usage = exchange.decisions[-1].candidate, exchange.usage or Usage(0, 0, estimated=True)
        price, began_s = candidate.model.price, exchange.began_s
        cost_usd = None if price is None else price.cost_usd(usage.input_tokens, usage.output_tokens)
        self.done.set_result(
            TaskResult(
                id=exchange.task.id,
                text="".join(self._texts),
                tool_calls=self._reader.answer().tool_calls,
                category=exchange.task.category,
                model=candidate.model.name,
                node=candidate.node.name,
                usage=usage,
                cost_usd=cost_usd,
                latency_s=(exchange.ended_s or began_s) - began_s,
                first_token_s=None if exchange.first_s is None else exchange.first_s - began_s,
                queued_s=exchange.dispatch.queued_s,
                attempts=len(exchange.decisions),
                rescues=tuple(exchange.rescues),
            )
        )

    def _fail(self, error: Exception) -> None:
        self._exchange = None
        if not self.done.done():
            self.done.set_exception(error)
