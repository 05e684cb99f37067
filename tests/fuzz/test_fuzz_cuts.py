"""What a caller's bytes mean does not hang on how they are cut, and is what another reader of HTTP takes them for.

Two readers that see different requests in the same bytes are what request smuggling lives on. No sockets here, so that
thousands of cuts can be tried.
"""

import asyncio
import re
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_fuzz_http import BODY, CHAT, HIDDEN, HOST, LINE, PIECES, REFUSED, UNDERSTOOD

from fairlead.gateway.http import Request, Responder
from fairlead.gateway.server import Connection, Server, ServerLimits, _target

LIMITS = ServerLimits(max_body_bytes=100_000, max_header_bytes=4096)
SHORT = settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=30_000)
Seen = list[tuple[str, str, bytes]]


class Line(asyncio.Transport):
    """What a connection writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def read(pieces: list[bytes], *, with_turns: bool = True) -> tuple[Seen, list[int]]:
    """Return the requests that are understood, and the statuses that are answered."""
    seen: Seen = []

    def handle(request: Request, responder: Responder) -> None:
        seen.append((request.method, request.path, request.body))
        responder.send(200, b"", b"")

    line, connection = Line(), Connection(Server(handle, LIMITS))
    connection.connection_made(line)
    for piece in pieces:
        if not line.is_closed:
            connection.data_received(piece)
        if with_turns:
            await asyncio.sleep(0)
    while not line.is_closed and (connection._queue or connection._unread):
        await asyncio.sleep(0)
    return seen, [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", line.written)]


def read_elsewhere(data: bytes) -> Seen:
    """Return the requests that h11 understands."""
    connection = h11.Connection(h11.SERVER)
    seen: Seen = []
    try:
        connection.receive_data(data)
        while isinstance(head := connection.next_event(), h11.Request):
            body = b""
            while isinstance(part := connection.next_event(), h11.Data):
                body += part.data
            if not isinstance(part, h11.EndOfMessage):
                break
            seen.append((head.method.decode(), _target(head.target)[0], body))
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except h11.ProtocolError:
        pass
    return seen


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


async def check(data: bytes, places: list[int]) -> None:
    byte_by_byte, statuses = await read([data[at : at + 1] for at in range(len(data))])
    for pieces in ([data], cut(data, places)):
        seen, said = await read(pieces)
        assert seen == byte_by_byte[: len(seen)]
        if all(status in (100, 200) for status in statuses):  # rubbish stops what is still waiting for its turn
            assert (seen, said) == (byte_by_byte, statuses)
    for ours, others in zip(byte_by_byte, read_elsewhere(data), strict=False):
        if not others[1].startswith(("http", "*")):
            assert ours == others


PARTS = st.one_of(PIECES.filter(lambda one: len(one) < 1000), st.binary(max_size=4))
DATA = st.lists(PARTS, min_size=1, max_size=12).map(b"".join)
PLACES = st.lists(st.integers(0, 2000), max_size=5)


@SHORT
@given(data=DATA, places=PLACES)
@example(data=LINE + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY) + HIDDEN, places=[])
def test_cuts_change_nothing(data: bytes, places: list[int]) -> None:
    asyncio.run(check(data, places))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@LONG
@given(data=DATA, places=PLACES)
def test_cuts_change_nothing_however_many(data: bytes, places: list[int]) -> None:
    asyncio.run(check(data, places))


@pytest.mark.parametrize("name", [name for name, data in REFUSED.items() if len(data) < 6000])
def test_cuts_change_nothing_in_what_is_refused(name: str) -> None:
    asyncio.run(check(REFUSED[name], [7, 40, 90]))
    assert all(path != "/admin/fleet" for _, path, _ in asyncio.run(read([REFUSED[name]]))[0])


@pytest.mark.parametrize("name", [name for name, (data, _) in UNDERSTOOD.items() if len(data) < 6000])
def test_cuts_change_nothing_in_what_is_odd(name: str) -> None:
    asyncio.run(check(UNDERSTOOD[name][0], [7, 40, 90]))


@pytest.mark.parametrize("size", [10, 1000, 60_000])
def test_reads_that_follow_an_offer_to_upgrade_at_once_keep_their_order(size: int) -> None:
    """The event loop may hand over two reads without a turn between them."""
    body = HIDDEN * (size // len(HIDDEN) + 1)
    offer = HOST + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: %d\r\n\r\n" % len(body)
    data = b"POST %b HTTP/1.1\r\n" % CHAT.encode() + offer + body

    half = len(data) - len(body) // 2
    seen, _ = asyncio.run(read([data[:half], data[half:]], with_turns=False))
    assert seen == [("POST", CHAT, body)]
