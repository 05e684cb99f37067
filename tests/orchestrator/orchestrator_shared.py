"""An orchestrator in virtual time: an event loop whose clock jumps, nodes that follow scripts, callers that keep all.

Nothing here waits: where no callback is ready the clock goes to the next timer, so minutes pass in milliseconds and the
order of events is the same every time.
"""

import asyncio
import functools
import json
import selectors
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from fairlead.backends.contract import Headers, Sink
from fairlead.dialects import decode
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, NodeRequest, Operation
from fairlead.domain import Model, Node, RoutingStrategy
from fairlead.domain.rescue import Continuation
from fairlead.engine.decision import Decision
from fairlead.engine.events import Event
from fairlead.engine.fleet import Fleet
from fairlead.errors import Fault
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.orchestrator.target import CallTimeouts, Target
from fairlead.orchestrator.wishes import NO_WISHES, Wishes
from fairlead.routing import make_strategy

P = ParamSpec("P")
E = TypeVar("E", bound=Event)

MODEL = "m"
DONE = b"data: [DONE]\n\n"
ROUND_ROBIN = RoutingStrategy.ROUND_ROBIN
BEGINS_AT_S = 1000.0

# -- time


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: the time that it is asked to wait is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = BEGINS_AT_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is left to happen, and the test still waits")
        self.now_s += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. What its exception handler is told is kept in `errors`."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._jumping.now_s


def in_virtual_time(main: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop of its own, whose exception handler must have been told nothing by its end."""

    @functools.wraps(main)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main(*args, **kwargs))
            loop = runner.get_loop()
            assert isinstance(loop, VirtualLoop)
            assert not loop.errors, loop.errors

    return test


def told_errors() -> list[BaseException | None]:
    """Return what the loop's exception handler was told so far, and forget it."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    errors, loop.errors = loop.errors, []
    return [context.get("exception") for context in errors]


# -- nodes


class Sent:
    """A request that has reached a node, and what the node does about it."""

    def __init__(self, request: NodeRequest, sink: Sink, number: int) -> None:
        self.fields: dict[str, Any] = json.loads(request.body)
        self.number = number
        """Which one of the node it is, from 1."""
        self.at_s = asyncio.get_running_loop().time()
        self.is_over = False
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        """What the node would send while nothing is taken from it."""
        self._is_paused = False
        self._sink = sink
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def begun(self) -> str:
        """The beginning of an answer that the node is to go on from."""
        last = self.fields.get("messages", [{}])[-1]
        return last["content"] if last.get("role") == "assistant" else ""

    def head(self, after_s: float, status: int = 200, headers: Headers | None = None) -> None:
        """Send the status line after so many seconds."""
        self._later(after_s, self._sink.on_head, status, headers or [])

    def data(self, after_s: float, data: bytes) -> None:
        """Send a piece, in one read."""
        self._later(after_s, self._sink.on_data, data)

    def end(self, after_s: float) -> None:
        """End the answer."""
        self._later(after_s, self._end, self._sink.on_end)

    def error(self, after_s: float, fault: Fault, message: str) -> None:
        """Break the connection."""
        self._later(after_s, self._end, self._sink.on_error, fault, message)

    def cancel(self) -> None:
        """Nothing more is wanted of the node."""
        self.is_over = True
        for timer in self._timers:
            timer.cancel()

    def pause(self) -> None:
        """Nothing more is taken from the node for now."""
        self._is_paused = True

    def resume(self) -> None:
        """More is taken again, what was held first."""
        self._is_paused = False
        asyncio.get_running_loop().call_soon(self._release)

    def _later(self, after_s: float, what: Callable[..., None], *args: Any) -> None:
        loop, after_s = asyncio.get_running_loop(), after_s + 1e-6 * len(self._timers)  # in the order of the script
        self._timers.append(loop.call_later(after_s, self._now, what, args))

    def _now(self, what: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._held.append((what, args))
        self._release()

    def _release(self) -> None:
        while self._held and not (self._is_paused or self.is_over):
            what, args = self._held.pop(0)
            what(*args)

    def _end(self, what: Callable[..., None], *args: Any) -> None:
        self.is_over = True
        what(*args)


Script = Callable[[Sent], None]


class Scripted:
    """A node that does what its script says."""

    dialect = Dialect.OPENAI

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sent: list[Sent] = []

    def send(self, request: NodeRequest, extra_head: bytes, sink: Sink) -> Sent:
        """Begin a request."""
        sent = Sent(request, sink, len(self.sent) + 1)
        self.sent.append(sent)
        self.script(sent)
        return sent

    async def close(self) -> None:
        """Nothing is held."""


def piece(text: str | None = None, finish: str | None = None, *, operation: Operation = Operation.CHAT) -> bytes:
    """Return an event of an answer."""
    said = {} if text is None else {"content": text}
    choice = {"delta": said} if operation is Operation.CHAT else {"text": text or ""}
    kind = "chat.completion.chunk" if operation is Operation.CHAT else "text_completion"
    choices = [{"index": 0, **choice, "finish_reason": finish}]
    event = {"id": "x", "object": kind, "created": 1, "model": MODEL, "choices": choices}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


END = piece(None, "stop") + DONE


def reads(*data: bytes, first_s: float = 0.1, gap_s: float = 0.1) -> Script:
    """A node that sends these pieces, one read each, and then nothing more."""

    def script(sent: Sent) -> None:
        sent.head(first_s)
        for number, one in enumerate(data):
            sent.data(first_s + number * gap_s, one)

    return script


def says(*words: str, first_s: float = 0.1, gap_s: float = 0.1) -> Script:
    """A node that says these words, and ends well."""

    def script(sent: Sent) -> None:
        reads(*map(piece, words), END, first_s=first_s, gap_s=gap_s)(sent)
        sent.end(first_s + len(words) * gap_s)

    return script


def cut(*words: str, gap_s: float = 0.1, operation: Operation = Operation.CHAT) -> Script:
    """A node that says these words, and whose connection breaks then."""

    def script(sent: Sent) -> None:
        reads(*(piece(word, operation=operation) for word in words), gap_s=gap_s)(sent)
        sent.error(0.1 + len(words) * gap_s, Fault.TRANSPORT, "cut")

    return script


def endless(sent: Sent) -> None:
    """A node that goes on for longer than anybody waits."""
    reads(*(piece(f"w{number} ") for number in range(2000)), gap_s=0.5)(sent)


def unreachable(sent: Sent) -> None:
    """A node that refuses connections."""
    sent.error(0.1, Fault.CONNECT, "refused")


def answers(status: int, message: str = "no") -> Script:
    """A node that answers with an error."""

    def script(sent: Sent) -> None:
        sent.head(0.1, status)
        sent.data(0.1, json.dumps({"error": {"message": message}}).encode())
        sent.end(0.1)

    return script


def by_turns(*scripts: Script) -> Script:
    """A node that does something else with each request, and the last for ever."""

    def script(sent: Sent) -> None:
        scripts[min(sent.number, len(scripts)) - 1](sent)

    return script


# -- callers


class Caller:
    """A reply that keeps all it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.ends: list[str] = []
        """How the answer ended: `whole`, `end`, `broke` or `refused`; one of them, once."""
        self.error: ErrorInfo | None = None

    def whole(self, exchange: Exchange, body: bytes) -> None:
        """Take a complete answer."""
        self.data += body
        self.ends.append("whole")

    def begin(self, exchange: Exchange, first: bytes) -> None:
        """Take the first piece."""
        self.data += first

    def write(self, data: bytes) -> None:
        """Take a further one."""
        self.data += data

    def end(self) -> None:
        """It ended well."""
        self.ends.append("end")

    def break_off(self) -> None:
        """It broke."""
        self.ends.append("broke")

    def refuse(self, exchange: Exchange, error: ErrorInfo, retry_after_s: float | None) -> None:
        """There was none."""
        self.ends.append("refused")
        self.error = error

    @property
    def events(self) -> list[dict[str, Any]]:
        """What came of a stream, its end mark aside."""
        events = self.data.split(b"\n\n")
        return [json.loads(event.removeprefix(b"data: ")) for event in events if event.startswith(b"data: {")]

    @property
    def text(self) -> str:
        """What the answer says, as a client puts it together."""
        text = ""
        for event in self.events:
            if (event.get("fairlead") or {}).get("restarted"):
                text = ""
            for choice in event.get("choices", ()):
                text += (choice.get("delta") or {}).get("content") or choice.get("text") or ""
        return text

    @property
    def broken(self) -> dict[str, Any]:
        """The error that ends a stream which broke; raises where there is none."""
        error: dict[str, Any] = self.events[-1]["error"]
        return error


def chat(
    model: str = MODEL, *, stream: bool = True, says: str = "hi", operation: Operation = Operation.CHAT, **fields: Any
) -> Call:
    """Return a call; of a completion the prompt is what it says."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": says}]}
    path = "/v1/chat/completions"
    if operation is Operation.COMPLETION:
        asked, path = {"prompt": says}, "/v1/completions"
    body = json.dumps({"model": model, "stream": stream, **asked, **fields}).encode()
    return decode(Dialect.OPENAI, operation, path, body)


# -- the whole


class Blame:
    """One attempt that failed, as the watcher is told."""

    def __init__(self, exchange: Exchange, decision: Decision, fault: Fault, info: ErrorInfo) -> None:
        self.exchange, self.fault, self.message = exchange, fault, info.message
        self.node = decision.candidate.node.name
        attempt = exchange.attempt
        self.is_pressed = attempt is not None and attempt.decision is decision and attempt._is_pressed
        """Whether its answer waited for the caller."""
        self.at_s = asyncio.get_running_loop().time()


class Stage:
    """Scripted nodes with one model behind an orchestrator, and all that was told of them."""

    def __init__(
        self,
        scripts: Mapping[str, Script],
        *,
        continues: Mapping[str, Continuation] | None = None,
        slots: Mapping[str, int] | None = None,
        timeouts: CallTimeouts | None = None,
        strategy: RoutingStrategy = ROUND_ROBIN,
        **settings: Any,
    ) -> None:
        self.blamed: list[Blame] = []
        self.finished: list[Exchange] = []
        self.timeouts = timeouts or CallTimeouts()
        self.orchestrator = orchestrator = ModelOrchestrator(
            fleet=Fleet(make_strategy(strategy)), watcher=self, timeouts=timeouts, **settings
        )
        orchestrator.clock = asyncio.get_running_loop().time
        self.events: list[Event] = []
        orchestrator.bus.subscribe(Event, self.events.append)
        self.nodes: dict[str, Scripted] = {}
        for name, script in scripts.items():
            self.serve(MODEL, name, script, slots=(slots or {}).get(name), continues=(continues or {}).get(name))

    def serve(
        self,
        model: str,
        name: str,
        script: Script,
        *,
        slots: int | None = None,
        continues: Continuation | None = None,
    ) -> None:
        """Serve a model on a further node."""
        node = self.nodes[name] = Scripted(script)
        target = Target(node, timeouts=self.timeouts, continuation=continues)
        self.orchestrator.add(Model(model), Node(name, slots=slots), target)

    def ask(self, call: Call | None = None, wishes: Wishes = NO_WISHES) -> tuple[Exchange, Caller]:
        """Begin an exchange."""
        caller = Caller()
        return self.orchestrator.submit(call or chat(), caller, wishes), caller

    def asked(self, name: str) -> int:
        """Return how many requests a node got."""
        return len(self.nodes[name].sent)

    def told(self, kind: type[E]) -> list[E]:
        """Return the events of a kind, in their order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def settle(self, after_s: float = 1000.0) -> None:
        """Let all that goes on come to its end; nothing may be left of it then, or come of it later."""
        await self.orchestrator.drained(after_s)
        assert not list(self.left())
        await asyncio.sleep(after_s)
        assert not list(self.left())
        await self.orchestrator.close()

    def left(self) -> Iterable[str]:
        """Say what is left of exchanges that are over: where all are, nothing may be."""
        orchestrator = self.orchestrator
        lobby, timeouts = orchestrator.lobby, orchestrator.timeouts
        found: dict[str, object] = {
            "exchanges": orchestrator.in_flight,
            "leases": len(orchestrator.fleet.ledger),
            "work in the lobby": lobby._at_work_tokens,
            "tasks in the lobby": (lobby._dispatches, lobby._yielding, lobby._gave_way, len(lobby.queue)),
            "timers": (timeouts._unusual, *timeouts._queues.values()),
            "requests at nodes": [sent for node in self.nodes.values() for sent in node.sent if not sent.is_over],
        }
        for name, state in orchestrator.fleet.nodes.items():
            found[f"load of {name}"] = (state.account.in_flight, state.account.probes)
        for what, one in found.items():
            if any(one) if isinstance(one, tuple) else one:
                yield f"{what}: {one}"

    # -- the watcher

    def on_attempt_failed(self, exchange: Exchange, decision: Decision, fault: Fault, info: ErrorInfo) -> None:
        """Keep who is said to have failed."""
        self.blamed.append(Blame(exchange, decision, fault, info))

    def on_finished(self, exchange: Exchange) -> None:
        """Keep which exchange is over."""
        self.finished.append(exchange)
