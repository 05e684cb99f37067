"""What is found out about nodes by asking them: only a node that goes on exactly is believed, at a known cost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.backends.contract import Sink
from fairlead.backends.http_backend import HttpBackend
from fairlead.dialects.contract import Dialect, NodeRequest
from fairlead.domain.rescue import Continuation
from fairlead.orchestrator.probing import (
    CONTINUATION_COSTS,
    LEAST_CHARS,
    NO_MODEL,
    NODE_COSTS,
    ProbeCosts,
    ProbeError,
    probe_continuation,
    probe_node,
)
from fairlead.testing import FakeProvider, Fate, ManualClock, Reply
from fairlead.testing.answers import FakeDialect
from fairlead.testing.provider import Received

run = asyncio.run
NUMBERS = ", ".join(map(str, range(1, 41)))
NONE, TRAILING = Continuation.NONE, Continuation.TRAILING
CONTINUE_FINAL, PREFIX = Continuation.CONTINUE_FINAL, Continuation.PREFIX
ORDER = (TRAILING, CONTINUE_FINAL, PREFIX)
Fields = dict[str, Any]


class Said(msgspec.Struct, frozen=True):
    """How a server answers one request."""

    text: str = ""
    reason: str | None = "stop"
    status: int = 200


class Scripted:
    """A backend without sockets: each answer is what `says` makes of the request, in small pieces."""

    def __init__(self, says: Callable[[Fields], Said], dialect: Dialect = Dialect.OPENAI, piece_bytes: int = 7) -> None:
        self.dialect = dialect
        self.asked: list[Fields] = []
        self._says = says
        self._piece_bytes = piece_bytes

    def send(self, request: NodeRequest, extra_head: bytes, sink: Sink) -> "Scripted":
        assert extra_head == b"content-type: application/json\r\n"
        try:
            self.asked.append(msgspec.json.decode(request.body))
            said = self._says(self.asked[-1])
        except msgspec.DecodeError:
            said = Said(status=400)
        asyncio.get_running_loop().call_soon(self._answer, said, sink)
        return self

    def _answer(self, said: Said, sink: Sink) -> None:
        sink.on_head(said.status, [])
        data = self._events(said) if said.status == 200 else b'{"error":{"message":"no"}}'
        for at in range(0, len(data), self._piece_bytes):
            sink.on_data(data[at : at + self._piece_bytes])
        sink.on_end()

    def _events(self, said: Said) -> bytes:
        if self.dialect is Dialect.OLLAMA:
            lines: list[Fields] = [{"message": {"content": word}} for word in said.text.splitlines(keepends=True)]
            lines.append({"message": {"content": ""}, "done": True, "done_reason": said.reason})
            return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        deltas: list[Fields] = [{"delta": {"content": word}} for word in said.text.splitlines(keepends=True)]
        deltas.append({"delta": {}, "finish_reason": said.reason})
        return b"".join(b"data: " + msgspec.json.encode({"choices": [one]}) + b"\n\n" for one in deltas)

    def cancel(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def close(self) -> None: ...


def form_of(fields: Fields) -> Continuation:
    """How a request asks a node to go on."""
    last = fields["messages"][-1]
    if last["role"] != "assistant":
        return NONE
    if last.get("prefix"):
        return PREFIX
    return CONTINUE_FINAL if fields.get("continue_final_message") else TRAILING


def given_of(fields: Fields) -> str:
    return str(fields["messages"][-1]["content"])


def server(text: str, forms: Any = (), otherwise: Callable[[Fields], Said] | None = None) -> Callable[[Fields], Said]:
    """A server that always says the same, and goes on where it is asked in one of the forms."""

    def says(fields: Fields) -> Said:
        form = form_of(fields)
        if form is NONE:
            return Said(text)
        if form in forms:
            return Said(text.removeprefix(given_of(fields)))
        return Said(status=400) if otherwise is None else otherwise(fields)

    return says


WRONG: dict[str, Callable[[str], Callable[[Fields], Said]]] = {
    "refuses": lambda _: lambda _fields: Said(status=422),
    "fails": lambda _: lambda _fields: Said(status=500),
    "starts anew": lambda text: lambda _fields: Said(text),
    "drops the blank at the seam": lambda text: lambda fields: Said(text.removeprefix(given_of(fields)).lstrip()),
    "says more": lambda text: lambda fields: Said(text.removeprefix(given_of(fields)) + " and so on"),
    "says less": lambda text: lambda fields: Said(text.removeprefix(given_of(fields))[:-1]),
    "says nothing": lambda _: lambda _fields: Said(""),
    "says something else": lambda _: lambda _fields: Said(" Sure! Here is more of it."),
    "says the last word again": lambda text: (
        lambda fields: Said(given_of(fields).rpartition(" ")[2] + text.removeprefix(given_of(fields)))
    ),
}
FORMS = st.sets(st.sampled_from(ORDER))
WORDS = st.lists(st.text("abc,é\n", min_size=1, max_size=8), min_size=LEAST_CHARS, max_size=60).map(" ".join)


def found_by(backend: Scripted) -> Continuation:
    return run(probe_continuation(backend, "m", 5.0))


# --- how a node goes on


@given(text=WORDS, forms=FORMS, wrong=st.sampled_from(sorted(WRONG)), piece=st.integers(1, 90))
def test_the_first_form_in_which_a_node_goes_on_exactly_is_found(
    text: str, forms: set[Continuation], wrong: str, piece: int
) -> None:
    backend = Scripted(server(text, forms, WRONG[wrong](text)), piece_bytes=piece)
    assert found_by(backend) == next((form for form in ORDER if form in forms), NONE)
    assert len(backend.asked) <= CONTINUATION_COSTS.requests
    assert sum(fields["max_tokens"] for fields in backend.asked) <= CONTINUATION_COSTS.output_tokens


@pytest.mark.parametrize("wrong", sorted(WRONG))
@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_node_that_goes_on_in_no_form_is_not_believed(wrong: str, dialect: Dialect) -> None:
    backend = Scripted(server(NUMBERS, (), WRONG[wrong](NUMBERS)), dialect)
    assert found_by(backend) is NONE
    assert len(backend.asked) == (5 if dialect is Dialect.OPENAI else 3)


def test_the_half_that_is_handed_over_ends_where_a_word_does() -> None:
    backend = Scripted(server(NUMBERS, {PREFIX}))
    assert found_by(backend) is PREFIX
    for fields in backend.asked[2:]:
        assert NUMBERS.startswith(given_of(fields) + " ")
        assert 10 < len(given_of(fields)) <= len(NUMBERS) / 2
    assert all((fields["temperature"], fields["stream"]) == (0, True) for fields in backend.asked)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_where_the_limit_ended_the_answer_more_may_follow(dialect: Dialect) -> None:
    def says(fields: Fields) -> Said:
        kept = given_of(fields) if form_of(fields) is TRAILING else ""
        return Said(NUMBERS.removeprefix(kept)[:90], "length")

    assert found_by(Scripted(says, dialect)) is TRAILING


def test_where_the_limit_ended_the_answer_its_rest_must_still_be_said() -> None:
    def says(fields: Fields) -> Said:
        if form_of(fields) is NONE:
            return Said(NUMBERS[:90], "length")
        return Said(NUMBERS.removeprefix(given_of(fields))[:20])

    assert found_by(Scripted(says)) is NONE


def test_an_answer_that_differs_each_time_proves_nothing() -> None:
    numbers = iter(range(1, 100))
    backend = Scripted(lambda _: Said(f"{NUMBERS} {next(numbers)}"))
    assert found_by(backend) is NONE
    assert len(backend.asked) == 2


@pytest.mark.parametrize("text", ["", "1, 2, 3", "1," * LEAST_CHARS, " " * 90, "é" * 39])
def test_an_answer_that_is_short_or_one_word_proves_nothing(text: str) -> None:
    backend = Scripted(server(text, ORDER))
    assert found_by(backend) is NONE
    assert len(backend.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_node_that_does_not_answer_at_all_tells_nothing(status: int) -> None:
    with pytest.raises(ProbeError, match=f"status {status}: no"):
        found_by(Scripted(lambda _: Said(status=status)))


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_node_that_is_busy_in_between_tells_nothing(status: int) -> None:
    with pytest.raises(ProbeError, match=str(status)):
        found_by(Scripted(server(NUMBERS, (), lambda _: Said(status=status))))


def test_an_answer_that_stops_before_its_end_tells_nothing() -> None:
    with pytest.raises(ProbeError, match="stopped before"):
        found_by(Scripted(lambda _: Said(NUMBERS, None)))


# --- over real sockets


def playing(text: str, *forms: Continuation) -> Callable[[Received], Reply]:
    """What a provider replies that goes on in these forms, and knows no model but `m`."""
    says = server(text, forms)

    def choose(request: Received) -> Reply:
        try:
            fields = msgspec.json.decode(request.body)
        except msgspec.DecodeError:
            return Reply(status=400)
        if fields["model"] != "m":
            return Reply(status=404)
        said = says(fields)
        return Reply(text=said.text, status=said.status, pieces=9)

    return choose


@asynccontextmanager
async def provider_and_backend(dialect: FakeDialect = "openai") -> AsyncIterator[tuple[FakeProvider, HttpBackend]]:
    async with FakeProvider(dialect) as provider:
        backend = HttpBackend(provider.url, Dialect(dialect))
        yield provider, backend
        await backend.close()


@pytest.mark.parametrize(
    ("dialect", "form"),
    [("openai", TRAILING), ("openai", CONTINUE_FINAL), ("openai", PREFIX), ("ollama", TRAILING), ("ollama", NONE)],
)
def test_a_node_is_looked_at(dialect: FakeDialect, form: Continuation) -> None:
    async def scenario() -> None:
        async with provider_and_backend(dialect) as (provider, backend):
            provider.choose = playing(NUMBERS, form)
            probe = await probe_node(backend, "m", 10.0)
            assert (probe.is_reachable, probe.status, probe.trouble) == (True, 200, "")
            assert probe.first_token_s is not None
            assert (probe.finish_reason, probe.has_end_mark, probe.has_usage) == ("stop", True, True)
            assert (probe.unknown_model_status, probe.malformed_status) == (404, 400)
            assert probe.continuation is form
            assert probe.costs.requests == provider.attempts - 1  # what is no JSON is no request for an answer
            assert probe.costs.requests <= NODE_COSTS.requests
            assert probe.costs.output_tokens <= NODE_COSTS.output_tokens
            assert NO_MODEL in provider.requests[1].body.decode()

    run(scenario())


def test_the_first_token_is_timed_from_the_question() -> None:
    class Slow(Scripted):
        def _answer(self, said: Said, sink: Sink) -> None:
            clock.advance(0.5)
            super()._answer(said, sink)

    clock = ManualClock(100.0)
    probe = run(probe_node(Slow(server(NUMBERS, ORDER)), "m", 5.0, clock=clock))
    assert probe.first_token_s == 0.5


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        (Fate.NO_USAGE, {"has_usage": False, "has_end_mark": True, "finish_reason": "stop", "trouble": ""}),
        (Fate.NO_DONE, {"has_usage": True, "has_end_mark": False, "finish_reason": "stop", "trouble": ""}),
        (Fate.UNFINISHED, {"finish_reason": None, "trouble": "its answer stopped before it was finished"}),
    ],
)
def test_what_a_stream_lacks_is_seen(fate: Fate, expected: Fields) -> None:
    async def scenario() -> None:
        async with provider_and_backend() as (provider, backend):
            provider.default = Reply(fate=fate, text=NUMBERS)
            found = msgspec.structs.asdict(await probe_node(backend, "m", 10.0))
            assert {name: found[name] for name in expected} == expected
            assert found["is_reachable"]

    run(scenario())


@pytest.mark.parametrize(
    ("reply", "is_reachable"),
    [
        (Reply(fate=Fate.RESET), False),
        (Reply(fate=Fate.SILENT), False),
        (Reply(fate=Fate.HEAD_ONLY), True),
        (Reply(fate=Fate.CUT), True),
        (Reply(fate=Fate.STALL), True),
        (Reply(fate=Fate.MALFORMED), True),
        (Reply(fate=Fate.ERROR_EVENT), True),
        (Reply(fate=Fate.HEADER_FLOOD), False),
        (Reply(status=401), True),
        (Reply(status=503), True),
        (Reply(body=b'{"not":"a stream"}'), True),
        (Reply(status=500, body=b"x" * 2_000_000), True),
    ],
)
def test_whatever_a_node_does_the_look_ends_and_says_what_was_wrong(reply: Reply, is_reachable: bool) -> None:
    async def scenario() -> None:
        async with provider_and_backend() as (provider, backend):
            provider.default = reply
            probe = await probe_node(backend, "m", 0.3)
            assert probe.is_reachable is is_reachable
            assert probe.trouble
            assert probe.continuation is None
            assert probe.costs == ProbeCosts(1, 8)
            with pytest.raises(ProbeError):
                await probe_continuation(backend, "m", 0.3)
            assert provider.attempts == 2

    run(scenario())


def test_an_answer_without_end_is_not_listened_to_for_long() -> None:
    async def scenario() -> None:
        async with provider_and_backend() as (provider, backend):
            provider.default = Reply(body=b": \n" * 600_000)
            with pytest.raises(ProbeError, match="larger than 256 KiB"):
                await probe_continuation(backend, "m", 10.0)

    run(scenario())


def test_who_is_no_longer_listened_to_is_hung_up_on() -> None:
    async def scenario() -> None:
        async with provider_and_backend() as (provider, backend):
            provider.default = Reply(fate=Fate.SILENT)
            with pytest.raises(ProbeError, match=r"within 0\.1 s"):
                await probe_continuation(backend, "m", 0.1)
            async with asyncio.timeout(10):
                while not provider.abandoned:
                    await asyncio.sleep(0.001)

    run(scenario())


def test_a_node_that_minds_fields_that_it_does_not_know_is_asked_without() -> None:
    def choose(request: Received) -> Reply:
        return Reply(status=422) if b"stream_options" in request.body else playing(NUMBERS)(request)

    async def scenario() -> None:
        async with provider_and_backend() as (provider, backend):
            provider.choose = choose
            probe = await probe_node(backend, "m", 10.0)
            assert (probe.status, probe.trouble, probe.continuation) == (200, "", NONE)
            assert probe.costs == NODE_COSTS

    run(scenario())
