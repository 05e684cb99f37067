"""Finds out how a real node answers, by a few short requests whose cost is known beforehand.

How a node goes on from the beginning of an answer is never guessed: it is asked the same question twice, and where it
says the same both times it is given the first half of that as a message of the assistant. Only a node that then says
exactly the other half goes on from what it was given.
"""

import asyncio
from typing import Any

import msgspec

from fairlead.backends.contract import Backend, Headers
from fairlead.clock import Clock, monotonic_s
from fairlead.dialects import decode, node_request, read_error
from fairlead.dialects.common import encode
from fairlead.dialects.continuing import continued
from fairlead.dialects.contract import Call, Dialect, NodeRequest, Operation, ProviderError
from fairlead.dialects.ndjson import read_line
from fairlead.dialects.sse import DONE, payload, read_chunk
from fairlead.domain.rescue import Continuation
from fairlead.errors import FairleadError, Fault, MalformedAnswerError

QUESTION = "Count from 1 to 40. Write the numbers in one line, with a comma and a space between them, and nothing else."
"""Harmless, and even a small model answers it at length and in the same way each time."""
ANSWER_TOKENS = 64
LEAST_CHARS = 40
"""Of a shorter answer, each half could be said by chance."""
NO_MODEL = "fairlead-probe-of-a-name-that-no-model-has"

_MAX_BYTES = 256 << 10
_HEAD = b"content-type: application/json\r\n"
_MALFORMED = b'[{"model":'
_TINY_TOKENS = 8
_CUT_SHORT = "length"
_BUSY = (408, 425, 429, 502, 503, 504)
_BAD_REQUEST = (400, 422)
_FORMS = {
    Dialect.OPENAI: (Continuation.TRAILING, Continuation.CONTINUE_FINAL, Continuation.PREFIX),
    Dialect.OLLAMA: (Continuation.TRAILING,),
}
"""A server that ignores fields that it does not know takes each of them for the first."""


class ProbeError(FairleadError):
    """The node could not be asked now, so that nothing is known of it; the message says why."""


class ProbeCosts(msgspec.Struct, frozen=True):
    """What probing costs."""

    requests: int = 0
    """Requests for an answer."""
    output_tokens: int = 0
    """Tokens of their answers, at most."""


CONTINUATION_COSTS = ProbeCosts(5, 5 * ANSWER_TOKENS)
"""What `probe_continuation` costs at most."""
NODE_COSTS = ProbeCosts(8, 5 * ANSWER_TOKENS + 2 * _TINY_TOKENS + 1)
"""What `probe_node` costs at most."""


class NodeProbe(msgspec.Struct, frozen=True, kw_only=True):
    """What a gentle look at a node showed; None where it came to no answer."""

    is_reachable: bool = False
    status: int | None = None
    """Of the answer to a short streamed request."""
    first_token_s: float | None = None
    """From sending it to the first text."""
    finish_reason: str | None = None
    has_end_mark: bool | None = None
    """Whether `[DONE]` or `done: true` ended it."""
    has_usage: bool | None = None
    """Whether it told its tokens."""
    unknown_model_status: int | None = None
    """404 is right; 200 where the node has one model and does not look at names."""
    malformed_status: int | None = None
    """What it answers to JSON that breaks off: 400 is right."""
    continuation: Continuation | None = None
    trouble: str = ""
    """Why not everything was found out; nothing where it was."""
    costs: ProbeCosts = ProbeCosts()
    """What it took."""


async def probe_continuation(backend: Backend, model: str, timeout_s: float) -> Continuation:
    """Return how a node goes on from the beginning of an answer, NONE where it says other things each time.

    `model` is the node's own name for it; `timeout_s` is for all together. Answers are streamed, as those that are
    rescued are: llama.cpp repeats the beginning in an answer that is not. Costs `CONTINUATION_COSTS` at most. Raises
    ProbeError where the node cannot be asked now.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _Prober(backend, model, monotonic_s).continuation()
    except TimeoutError:
        raise ProbeError(f"it did not answer a few short requests within {timeout_s:g} s") from None


async def probe_node(backend: Backend, model: str, timeout_s: float, *, clock: Clock = monotonic_s) -> NodeProbe:
    """Look at a node, gently: see `NodeProbe`. Costs `NODE_COSTS` at most, and never raises for what a node does."""
    prober = _Prober(backend, model, clock)
    trouble = ""
    try:
        async with asyncio.timeout(timeout_s):
            await prober.look()
    except TimeoutError:
        trouble = f"it did not answer everything within {timeout_s:g} s"
    except ProbeError as error:
        trouble = str(error)
    return msgspec.structs.replace(prober.found, trouble=trouble, costs=prober.costs)


class _Ear:
    """Listens to one streamed answer."""

    def __init__(self, dialect: Dialect, clock: Clock) -> None:
        self._take = self._take_line if dialect is Dialect.OLLAMA else self._take_event
        self._clock = clock
        self._began_s = clock()
        self._size = 0
        self._pending = b""
        self._said: list[str] = []
        self._broken = ""
        self.heard = asyncio.Event()
        """Whether there is nothing more to listen to."""
        self.has_ended = False
        """Whether the request itself is over."""
        self.status = 0
        self.first_s: float | None = None
        self.reason: str | None = None
        self.has_end_mark = False
        self.has_usage = False

    @property
    def text(self) -> str:
        """What was said."""
        return "".join(self._said)

    @property
    def is_broken(self) -> bool:
        """Whether the connection failed, or rubbish came, or no end."""
        return bool(self._broken) or (self.status == 200 and not (self.reason or self.has_end_mark))

    @property
    def is_well(self) -> bool:
        """Whether this is a complete answer."""
        return self.status == 200 and not self.is_broken

    @property
    def why(self) -> str:
        """What is wrong with it."""
        if self._broken or self.status == 200:
            return self._broken or "its answer stopped before it was finished"
        return f"it answers with status {self.status}: {read_error(self.status, self._pending).message}"

    def on_head(self, status: int, headers: Headers) -> None:
        """Note the status."""
        del headers
        self.status = status

    def on_data(self, data: bytes) -> None:
        """Take what is whole of it, line by line: in both dialects an event is one."""
        self._size += len(data)
        if self.heard.is_set():
            return
        if self._size > _MAX_BYTES:
            self._break(f"its answer is larger than {_MAX_BYTES >> 10} KiB")
        elif self.status != 200:
            self._pending += data
        else:
            *lines, self._pending = (self._pending + data).split(b"\n")
            self._take_all(lines)

    def on_end(self) -> None:
        """Take the rest."""
        self.has_ended = True
        if self.status == 200:
            self._take_all([self._pending])
        self.heard.set()

    def on_error(self, fault: Fault, message: str) -> None:
        """Note what broke."""
        del fault
        self.has_ended = True
        self._break(message)

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self.heard.set()

    def _take_all(self, lines: list[bytes]) -> None:
        try:
            for line in lines:
                if line.strip():
                    self._take(line)
        except ProviderError as error:
            self.status = max(error.info.status, 400)
            self._pending = str(error).encode()
            self.heard.set()
        except MalformedAnswerError as error:
            self._break(str(error))

    def _take_event(self, line: bytes) -> None:
        data = payload(line)
        if data == DONE:
            self.has_end_mark = True
        elif data:
            chunk = read_chunk(data)
            self.has_usage |= chunk.usage is not None
            for choice in chunk.choices or ():
                self._note(choice.delta.text if choice.delta else "", choice.finish_reason, begins=choice.has_content)

    def _take_line(self, line: bytes) -> None:
        answer = read_line(line)
        self.has_end_mark |= answer.done
        self.has_usage |= answer.usage is not None
        self._note(answer.text, answer.done_reason, begins=bool(answer.text or answer.thought))

    def _note(self, text: str, reason: str | None, *, begins: bool) -> None:
        if begins and self.first_s is None:
            self.first_s = self._clock() - self._began_s
        self._said.append(text)
        self.reason = reason or self.reason


class _Prober:
    """Asks one node, one thing at a time, and keeps count of what that costs."""

    def __init__(self, backend: Backend, model: str, clock: Clock) -> None:
        self._backend = backend
        self._model = model
        self._clock = clock
        self.found = NodeProbe()
        self.costs = ProbeCosts()

    async def look(self) -> None:
        """Find out everything. Raises ProbeError."""
        await self._look_at_stream()
        unknown = await self._ask(_question(self._backend.dialect, NO_MODEL, 1))
        self._note(unknown_model_status=unknown.status or None)
        self._note(continuation=await self.continuation())
        path = "/api/chat" if self._backend.dialect is Dialect.OLLAMA else "/chat/completions"
        malformed = await self._send(NodeRequest(path, _MALFORMED))
        self._note(malformed_status=malformed.status or None)

    async def continuation(self) -> Continuation:
        """Find out how the node goes on. Raises ProbeError."""
        call = _question(self._backend.dialect, self._model, ANSWER_TOKENS)
        whole = await self._answer(call)
        text = whole.text
        at = text.rfind(" ", 0, len(text) // 2 + 1)  # so that the half ends where a word does, as its tokens do
        if len(text) < LEAST_CHARS or not text[: max(at, 0)].strip() or (await self._answer(call)).text != text:
            return Continuation.NONE
        kept = text[:at].rstrip()
        rest = text[len(kept) :]
        for how in _FORMS[self._backend.dialect]:
            ear = _sound(await self._ask(continued(call, kept, how)))
            if ear.is_well and _is_rest(ear.text, rest, is_cut_short=whole.reason == _CUT_SHORT):
                return how
        return Continuation.NONE

    # -- inside

    async def _look_at_stream(self) -> None:
        ear = await self._ask(_question(self._backend.dialect, self._model, _TINY_TOKENS, asks_usage=True))
        if ear.status in _BAD_REQUEST:  # some servers take a field that they do not know for a mistake
            ear = await self._ask(_question(self._backend.dialect, self._model, _TINY_TOKENS))
        self._note(
            status=ear.status or None,
            first_token_s=ear.first_s,
            finish_reason=ear.reason,
            has_end_mark=ear.has_end_mark if ear.status == 200 else None,
            has_usage=ear.has_usage if ear.status == 200 else None,
        )
        _well(ear)

    def _note(self, **found: Any) -> None:
        self.found = msgspec.structs.replace(self.found, **found)

    async def _answer(self, call: Call) -> _Ear:
        """Return an answer that is one. Raises ProbeError."""
        return _well(await self._ask(call))

    async def _ask(self, call: Call) -> _Ear:
        """Ask for an answer, and listen to its end."""
        costs = self.costs
        self.costs = ProbeCosts(costs.requests + 1, costs.output_tokens + (call.max_output_tokens or 0))
        return await self._send(node_request(call, call.model, self._backend.dialect))

    async def _send(self, request: NodeRequest) -> _Ear:
        ear = _Ear(self._backend.dialect, self._clock)
        sending = self._backend.send(request, _HEAD, ear)
        try:
            await ear.heard.wait()
        finally:
            if not ear.has_ended:
                sending.cancel()
            if ear.status:
                self._note(is_reachable=True)
        return ear


def _well(ear: _Ear) -> _Ear:
    """Return what was heard if it is an answer. Raises ProbeError."""
    if not ear.is_well:
        raise ProbeError(ear.why)
    return ear


def _sound(ear: _Ear) -> _Ear:
    """Return what was heard if it says something of the node: an answer or a refusal. Raises ProbeError."""
    if ear.is_broken or ear.status in _BUSY:
        raise ProbeError(ear.why)
    return ear


def _is_rest(said: str, rest: str, *, is_cut_short: bool) -> bool:
    """Whether a node said exactly what was missing: and more only where it was the limit that ended the whole."""
    return said.startswith(rest) if is_cut_short else said == rest


def _question(dialect: Dialect, model: str, max_tokens: int, *, asks_usage: bool = False) -> Call:
    """Return the question in the node's own dialect. Temperature 0 needs no seed, a field that some servers refuse."""
    fields: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    if dialect is Dialect.OLLAMA:
        fields["options"] = {"temperature": 0, "num_predict": max_tokens}
        return decode(dialect, Operation.CHAT, "/api/chat", encode(fields))
    fields |= {"temperature": 0, "max_tokens": max_tokens}
    if asks_usage:
        fields["stream_options"] = {"include_usage": True}
    return decode(dialect, Operation.CHAT, "/v1/chat/completions", encode(fields))
