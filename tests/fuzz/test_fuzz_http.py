"""Malformed HTTP over raw sockets: whoever sends it harms nobody else, and nothing of it is left behind.

The corpus holds the shapes by which requests are smuggled and servers are tied up; hypothesis makes up the rest. After
each, a stranger's good request is answered, no lease, task or connection is left, and nothing was logged as an error.
"""

import gc
import json
import re
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fuzz_shared import LIMITS, House, chat, post, reset, rest, send, still_serves, talk, wire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHAT = "/v1/chat/completions"
BODY = json.dumps(chat()).encode()
HOST = b"host: localhost\r\n"
HIDDEN = b"GET /admin/fleet HTTP/1.1\r\nhost: localhost\r\n\r\n"
"""What a smuggler hides in a body: its answer would name `strategy`."""
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
QUIET = settings(max_examples=120, database=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUIET, max_examples=10_000)


def chunked(*lines: bytes) -> bytes:
    return LINE + b"transfer-encoding: chunked\r\n\r\n" + b"".join(lines)


REFUSED: dict[str, bytes] = {
    "length and coding": LINE + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "coding and length": LINE + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": LINE + b"content-length: 0\r\ncontent-length: 49\r\n\r\n" + HIDDEN,
    "two equal lengths": LINE + b"content-length: 49\r\ncontent-length: 49\r\n\r\n" + HIDDEN,
    "a list of lengths": LINE + b"content-length: 49, 0\r\n\r\n" + HIDDEN,
    "a negative length": LINE + b"content-length: -1\r\n\r\n" + HIDDEN,
    "a signed length": LINE + b"content-length: +0\r\n\r\n" + HIDDEN,
    "a length in words": LINE + b"content-length: many\r\n\r\n" + HIDDEN,
    "a hexadecimal length": LINE + b"content-length: 0x10\r\n\r\n" + HIDDEN,
    "a grouped length": LINE + b"content-length: 1_0\r\n\r\n" + HIDDEN,
    "an empty length": LINE + b"content-length: \r\n\r\n" + HIDDEN,
    "a huge length": LINE + b"content-length: 100001\r\n\r\n",
    "a length that overflows": LINE + b"content-length: 18446744073709551616\r\n\r\n" + HIDDEN,
    "a length of 400 digits": LINE + b"content-length: " + b"9" * 400 + b"\r\n\r\n",
    "a space before the colon": LINE + b"content-length : 49\r\n\r\n" + HIDDEN,
    "a tab before the colon": LINE + b"content-length\t: 49\r\n\r\n" + HIDDEN,
    "a folded length": LINE + b"content-length:\r\n 49\r\n\r\n" + HIDDEN,
    "a folded header": LINE + b"x-a: b\r\n c: d\r\ncontent-length: 0\r\n\r\n" + HIDDEN,
    "a header without a name": LINE + b": x\r\ncontent-length: 0\r\n\r\n" + HIDDEN,
    "a header without a colon": LINE + b"content-length\r\n\r\n" + HIDDEN,
    "a header with a NUL": LINE + b"x-a: b\x00c\r\ncontent-length: 0\r\n\r\n" + HIDDEN,
    "a NUL in a name": LINE + b"content\x00-length: 49\r\n\r\n" + HIDDEN,
    "a bare CR in a header": LINE + b"x-a: b\rtransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n" + HIDDEN,
    "two hosts": b"GET /health HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n\r\n" + HIDDEN,
    "chunked and identity": LINE + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "an unknown coding": LINE + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a coding with control characters": LINE + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a chunk size that overflows": chunked(b"fffffffffffffffff\r\n", HIDDEN),
    "the largest chunk size": chunked(b"ffffffffffffffff\r\n", b"x" * 200_000),
    "a negative chunk size": chunked(b"-1\r\n", HIDDEN),
    "a chunk size in words": chunked(b"many\r\n", HIDDEN),
    "a chunk size with a prefix": chunked(b"0x2\r\n{}\r\n0\r\n\r\n", HIDDEN),
    "a chunk size with a space": chunked(b" 2\r\n{}\r\n0\r\n\r\n", HIDDEN),
    "an empty chunk size": chunked(b"\r\n{}\r\n0\r\n\r\n", HIDDEN),
    "a chunk longer than its size": chunked(b"2\r\n{}GET\r\n0\r\n\r\n", HIDDEN),
    "a chunk ended by a bare LF": chunked(b"2\r\n{}\n0\r\n\r\n", HIDDEN),
    "a chunk size ended by a bare LF": chunked(b"2\n{}\r\n0\r\n\r\n", HIDDEN),
    "a chunk extension with a bare LF": chunked(b"2;x\nxx\r\n{}\r\n0\r\n\r\n", HIDDEN),
    "chunk extensions without end": chunked(b"2;" + b"x" * 1_000_000),
    "chunks of a byte without end": chunked(b"0000000000001\r\nx\r\n" * 60_000),
    "trailers without end": chunked(b"0\r\n", b"x: y\r\n" * 50_000),
    "too large a body": LINE + b"content-length: 99999999\r\n\r\n",
    "too large a chunked body": chunked(b"1869f\r\n" + b"x" * 99_999 + b"\r\n", b"ff\r\n" + b"x" * 255 + b"\r\n"),
    "too large a body, expected": LINE + b"expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n",
    "many headers": LINE + b"x: y\r\n" * 2000,
    "one long header": LINE + b"x: " + b"y" * 20_000,
    "one long name": LINE + b"y" * 20_000,
    "a long path": b"GET /" + b"a" * 200_000,
    "a long query": b"GET /?" + b"a" * 200_000,
    "a long method": b"G" * 200_000,
    "a control character in the path": b"GET /\x01health HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "a NUL in the path": b"GET /health\x00 HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "a space in the path": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "an unknown method": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "a method in small letters": b"get / HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n" + HIDDEN,
    "an unknown version": b"GET / HTTP/1.x\r\n" + HOST + b"\r\n" + HIDDEN,
    "HTTP/0.9": b"GET /\r\n\r\n" + HIDDEN,
    "no request at all": b"\xff\xfe\x00\x01" * 50,
}
"""Answered by one 4xx at most, after which nothing more is read."""

UNDERSTOOD: dict[str, tuple[bytes, set[int]]] = {
    "an absolute address": (b"GET http://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n", {404}),
    "an absolute address of others": (b"GET http://example.org/v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {404}),
    "no host": (b"GET /v1/models HTTP/1.1\r\n\r\n", {421}),
    "an empty host": (b"GET /v1/models HTTP/1.1\r\nhost:\r\n\r\n", {421}),
    "letters beyond ASCII in the path": (b"GET /v1/models/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404}),
    "encoded rubbish in the path": (b"GET /v1/models/%ff%00%zz HTTP/1.1\r\n" + HOST + b"\r\n", {404}),
    "dots in the path": (b"POST /v1/../admin/reset HTTP/1.1\r\n" + HOST + b"content-length: 2\r\n\r\n{}", {404}),
    "encoded slashes": (b"POST /admin%2freset HTTP/1.1\r\n" + HOST + b"content-length: 0\r\n\r\n", {200, 404}),
    "all servers": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", {404}),
    "a tunnel": (b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", {404}),
    "a web socket": (b"GET / HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n", {200}),
    "HTTP/2 offered": (
        LINE + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY),
        {200},
    ),
    "a chunk extension": (chunked(b'%x;name="value"\r\n%b\r\n0\r\n\r\n' % (len(BODY), BODY)), {200}),
    "a trailer": (chunked(b"%x\r\n%b\r\n0\r\nhost: evil\r\n\r\n" % (len(BODY), BODY)), {200}),
    "a body that is not expected": (b"GET /health HTTP/1.1\r\n" + HOST + b"content-length: 2\r\n\r\n{}", {200}),
    "a body with HEAD": (b"HEAD /health HTTP/1.1\r\n" + HOST + b"content-length: 2\r\n\r\n{}", {200}),
    "a body that is no UTF-8": (post(CHAT, b'{"model":"\xff"}'), {400}),
    "a body nested deeply": (post(CHAT, b"[" * 90_000), {400}),
    "a passing body that is no UTF-8": (post("/v1/responses", b'{"model":"\xff"}'), {400}),
    "a shown model that is no UTF-8": (post("/api/show", b'{"model":"\xff"}'), {400}),
    "a strategy that is no UTF-8": (post("/admin/strategy", b'{"strategy":"\xff"}'), {400}),
    "something odd to keep alive": (post("/api/chat", {"model": "m", "keep_alive": []}), {400}),
    "an odd kind of embedding": (post("/v1/embeddings", {"model": "o", "input": "x", "encoding_format": 5}), {400}),
    "headers that are no UTF-8": (
        post(CHAT, BODY)[: -len(BODY) - 2] + b"x-fairlead-session: \xff\xfe\r\n\r\n" + BODY,
        {200},
    ),
    "expecting to go on": (post(CHAT, BODY, "expect: 100-continue"), {100, 200}),
    "expecting a miracle": (post(CHAT, BODY, "expect: miracle"), {200, 417}),
}
"""Odd, but with one meaning only."""

BROKEN_OFF: dict[str, bytes] = {
    "half a line": b"GET /hea",
    "half a head": LINE + b"x-a: ",
    "half a body": LINE + b'content-length: 500\r\n\r\n{"model"',
    "half a chunk": chunked(b'50\r\n{"model"'),
    "no body yet": LINE + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    "an answer under way": LINE + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
    "several answers under way": (LINE + b"content-length: %d\r\n\r\n" % len(BODY) + BODY) * 20,
    "blank lines": b"\r\n" * 5000,
}


def answers(got: bytes) -> list[tuple[int, bytes]]:
    """Take a byte stream apart into answers: status and body of each."""
    found = []
    while got:
        head, mark, got = got.partition(b"\r\n\r\n")
        assert mark, "half an answer"
        status = int(re.match(rb"HTTP/1\.1 (\d{3}) ", head)[1])  # type: ignore[index]
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else 0
        found.append((status, got[:size]))
        got = got[size:]
    return found


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with House() as one:
        yield one


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_two_meanings_or_none_is_refused_and_nothing_behind_it_is_read(house: House, name: str) -> None:
    got = talk(house, REFUSED[name])
    assert b"strategy" not in got
    said = answers(got)
    assert len(said) <= 1, said
    assert all(400 <= status < 500 for status, _ in said), said
    assert all(json.loads(body)["error"]["message"] for _, body in said)
    still_serves(house)
    house.check()


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_is_odd_has_one_answer(house: House, name: str) -> None:
    data, statuses = UNDERSTOOD[name]
    with wire(house) as sock:
        send(sock, data)
        sock.settimeout(10)
        got = sock.recv(2**16)
        assert int(got.split(b" ")[1]) in statuses, got
    still_serves(house)
    house.check()


@pytest.mark.parametrize("path", [CHAT, "/api/chat"])
@pytest.mark.parametrize("name", ["too large a body", "a folded header", "a chunk size in words"])
def test_what_is_refused_unread_is_refused_in_the_dialect_of_its_path(house: House, name: str, path: str) -> None:
    got = talk(house, REFUSED[name].replace(CHAT.encode(), path.encode()))
    error = json.loads(answers(got)[0][1])["error"]
    assert isinstance(error, str if path.startswith("/api/") else dict)


@pytest.mark.parametrize("leaving", ["close", "reset", "half"])
@pytest.mark.parametrize("name", BROKEN_OFF)
def test_who_leaves_in_the_middle_leaves_nothing_behind(house: House, name: str, leaving: str) -> None:
    with wire(house) as sock:
        send(sock, BROKEN_OFF[name])
        if leaving == "reset":
            reset(sock)
        elif leaving == "half":
            sock.shutdown(1)
            assert b" 500 " not in rest(sock)
    still_serves(house)
    house.check()


def test_who_sends_slowly_is_closed_and_holds_up_nobody(house: House) -> None:
    parts = [b"GET /health HTTP/1.1\r\nx-a: b", LINE, b"GET /", b"POST / HTTP/1.1\r\nhost: localhost\r\nconnection"]
    with ExitStack() as stack:
        opened = [stack.enter_context(wire(house)) for _ in range(40)]
        for number, sock in enumerate(opened):
            send(sock, parts[number % len(parts)])
        waiting, end_s = set(opened), time.monotonic() + 8
        while waiting:
            assert time.monotonic() < end_s
            still_serves(house)
            waiting -= {sock for sock in waiting if is_closed_for_being_slow(sock)}
    house.check()


def is_closed_for_being_slow(sock: socket.socket) -> bool:
    """Send one more byte, and tell whether the gateway has had enough."""
    send(sock, b"x")
    sock.settimeout(0.002)
    try:
        got = rest(sock)
    except TimeoutError:
        return False
    assert not got or got.startswith(b"HTTP/1.1 408 "), got
    return True


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_rubbish_behind_good_requests_is_never_taken_for_the_answer_to_one(house: House, kept: int) -> None:
    good = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    said = answers(talk(house, good * kept + b"\x00rubbish\r\n\r\n"))
    assert [status for status, _ in said[:-1]] == [200] * (len(said) - 1)
    assert len(said) - 1 <= kept
    assert said[-1][0] == (400 if len(said) > kept else 200)
    house.check()


@pytest.mark.parametrize("size", [10_000, 95_000, 700_000])
def test_what_comes_behind_an_offer_to_upgrade_is_read_in_order(size: int) -> None:
    """The offer's body may come in several reads, and may look like a request."""
    prompt = "GET /admin/fleet HTTP/1.1\\r\\nhost: localhost\\r\\n\\r\\n" * (size // 50)
    offer = ("connection: upgrade", "upgrade: h2c")
    with House(limits=type(LIMITS)(max_body_bytes=2**21)) as house:
        head, _, body = post(CHAT, chat(prompt, n=1), *offer).partition(b"\r\n\r\n")
        head = head.replace(b"connection: close\r\n", b"")
        for _ in range(3):
            said = talk(house, head + b"\r\n\r\n" + body + b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")
            statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", said)
            assert statuses == [b"200", b"200"], said[:300]
            assert b'"strategy"' not in said
        house.check()


# -- made up

PIECES = st.sampled_from(
    [
        b"GET ", b"POST ", b"CONNECT ", b"/v1/chat/completions", b"/api/chat", b"/health", b"http://localhost/health",
        b"*", b"?", b"%", b"%00", b" ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"HTTP/2.0\r\n", b"\r\n", b"\r\n\r\n",
        HOST, b"content-length: 2\r\n", b"content-length: 99\r\n", b"content-length: -2\r\n", b"x: y\r\n",
        b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n", b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: x\r\n", b"expect: 100-continue\r\n", b"0\r\n\r\n", b"2\r\n{}\r\n",
        b"2;a=b\r\n{}\r\n", b"fffffffffffffffff\r\n", b"{}", b"\n", b"\r", b"\x00", b"\t", b" folded\r\n", b": ",
        BODY, HIDDEN, LINE, post(CHAT, BODY), b"x" * 5000,
        LINE + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
    ]
)  # fmt: skip
BYTES = st.lists(st.one_of(PIECES, st.binary(max_size=16)), min_size=1, max_size=12)
ENDINGS = st.sampled_from(["close", "reset", "half"])


def upset(house: House, pieces: list[bytes], ending: str, *, is_split: bool) -> None:
    with wire(house) as sock:
        for piece in pieces if is_split else [b"".join(pieces)]:
            send(sock, piece)
        if ending == "half":
            try:
                sock.shutdown(1)
            except OSError:  # it was refused already
                return
            assert b" 500 " not in rest(sock)
        elif ending == "reset":
            reset(sock)


@QUIET
@given(pieces=BYTES, ending=ENDINGS, is_split=st.booleans())
def test_no_bytes_upset_it(house: House, pieces: list[bytes], ending: str, is_split: bool) -> None:
    upset(house, pieces, ending, is_split=is_split)
    still_serves(house)
    house.check()


@pytest.mark.soak
@pytest.mark.timeout(1800)
@LONG
@given(pieces=BYTES, ending=ENDINGS, is_split=st.booleans())
def test_no_bytes_upset_it_however_many(house: House, pieces: list[bytes], ending: str, is_split: bool) -> None:
    upset(house, pieces, ending, is_split=is_split)
    still_serves(house)
    house.check()


# -- memory


def grown_bytes(house: House, rounds: int) -> int:
    """Return how much more memory is held after so many further rounds through everything above."""
    shapes = [*REFUSED.values(), *BROKEN_OFF.values(), *(data for data, _ in UNDERSTOOD.values())]
    small = [data for data in shapes if len(data) < 6000 and b"/v1/chat" not in data]

    def go(count: int) -> None:
        for number in range(count):
            with wire(house) as sock:
                send(sock, small[number % len(small)])
                reset(sock)
        house.check()

    tracemalloc.start()
    try:
        go(len(small) * 4)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        go(rounds)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_memory_stays_flat(house: House) -> None:
    assert grown_bytes(house, 1000) < 100_000


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_memory_stays_flat_for_long(house: House) -> None:
    assert grown_bytes(house, 20_000) < 200_000
