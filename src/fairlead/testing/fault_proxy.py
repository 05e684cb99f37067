"""A wire that misbehaves: passes bytes between a client and a server, and breaks, slows or stops them on demand.

    async with FaultProxy(node.port) as wire:
        ... talk to 127.0.0.1:wire.port as if it were the node ...
        wire.fault = WireFault(WireFaultKind.RESET, after_bytes=300)   # every answer that begins from now on
        wire.strike(WireFaultKind.CUT)                                 # every connection that is open, at once
        wire.refuse()                                                  # nobody can connect
        wire.heal()

It knows no protocol. A *turn* is what the client sends up to the answer, and the answer: client bytes that come after
bytes of an answer begin the next one. Faults are decided per turn, so a connection that is kept open is no shelter.
It listens on loopback only, on the same port until it is stopped.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

import msgspec

_LINGER_NOT = struct.pack("ii", 1, 0)
_TICK_S = 0.01
"""Between two pieces of a throttled answer."""
_MANY_BYTES = 256 * 1024
"""With so much not passed on yet, the server is read no further."""


class WireFaultKind(StrEnum):
    """What a wire does wrong."""

    HANG = "hang"  # takes the request and passes nothing on
    DELAY = "delay"  # the answer comes late by `pause_s`
    THROTTLE = "throttle"  # the answer comes at `bytes_per_s`
    STALL = "stall"  # after so many bytes the answer stops, until `heal`
    CUT = "cut"  # after so many bytes the connection is closed in good order
    RESET = "reset"  # after so many bytes it is reset
    HALF_CLOSE = "half_close"  # after so many bytes only the way to the client is closed


class WireFault(msgspec.Struct, frozen=True):
    """A fault and its size."""

    kind: WireFaultKind
    after_bytes: int = 0
    """Of the turn's answer, head included; 0: at its first byte."""
    pause_s: float = 0.05
    """For a delay."""
    bytes_per_s: int = 10_000
    """For a throttled answer."""


class FaultProxy:
    """Stands before one server on loopback. Use it as an async context manager, or `start` and `stop` it."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        """May be changed while it runs: of connections that come from then on."""
        self.port = 0
        self.fault: WireFault | None = None
        """What befalls every turn that begins now."""
        self.choose: Callable[[], WireFault | None] | None = None
        """Asked once per turn where `fault` is None."""
        self.struck: Counter[WireFaultKind] = Counter()
        """How often each fault really befell an answer or a connection."""
        self.refused = 0
        """How often `refuse` closed the door."""
        self._wires: set[_Wire] = set()
        self._place: socket.socket | None = None
        self._door: asyncio.Server | None = None
        self._is_listening = False

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._wires)

    async def start(self) -> None:
        """Listen on a free port; the same one again after `stop`."""
        self._place = _bound(self.port)  # keeps the port while nobody listens there
        self.port = self._place.getsockname()[1]
        await self.allow()

    async def allow(self) -> None:
        """Let connections in again."""
        if not self._is_listening:
            self._is_listening = True
            loop = asyncio.get_running_loop()
            self._door = await loop.create_server(lambda: _Wire(self), sock=_bound(self.port), backlog=1024)

    def refuse(self) -> None:
        """Refuse every new connection; those that are open go on."""
        if self._is_listening and self._door is not None:
            self._is_listening = False
            self.refused += 1
            self._door.close()

    def strike(self, kind: WireFaultKind) -> None:
        """Let a fault befall every open connection now: `CUT`, `RESET`, `STALL` or `HALF_CLOSE`."""
        for wire in tuple(self._wires):
            wire.strike(kind)

    async def heal(self) -> None:
        """Pass everything on again, from now on and of what had stopped."""
        self.fault = None
        self.choose = None
        await self.allow()
        for wire in tuple(self._wires):
            wire.go_on()

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._door is not None:
            self._door.close()
        self._is_listening = False
        for wire in tuple(self._wires):
            wire.drop()
        if self._place is not None:
            self._place.close()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def fault_of_turn(self) -> WireFault | None:
        """Return what befalls a turn that begins now."""
        if self.fault is not None or self.choose is None:
            return self.fault
        return self.choose()

    def opened(self, wire: "_Wire") -> None:
        """Count a connection."""
        self._wires.add(wire)

    def closed(self, wire: "_Wire") -> None:
        """Forget a connection."""
        self._wires.discard(wire)


def _breaks(fault: WireFault) -> bool:
    """Tell whether a fault ends or stops the answer in its middle."""
    return fault.kind not in (WireFaultKind.HANG, WireFaultKind.DELAY, WireFaultKind.THROTTLE)


def _bound(port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    return found


class _Wire(asyncio.Protocol):
    """The client's side of one connection, and what lies between the two."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._transport: asyncio.Transport
        self._server: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._early = bytearray()
        """From the client, before the server is reached."""
        self._pending = bytearray()
        """From the server, not passed on yet."""
        self._fault: WireFault | None = None
        self._passed = 0
        self._is_in_turn = False
        self._is_answered = False
        self._is_stalled = False
        self._is_deaf = False
        """Nothing more reaches the client."""
        self._is_server_gone = False
        self._is_slow_client = False
        self._timer: asyncio.TimerHandle | None = None

    # -- the client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # TCP transports are full transports
        self._proxy.opened(self)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._proxy.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._opening is not None:
            self._opening.cancel()
        if self._server is not None:
            self._server.abort()

    def data_received(self, data: bytes) -> None:
        if not self._is_in_turn or self._is_answered:
            self._begin_turn()
        if self._fault is not None and self._fault.kind is WireFaultKind.HANG:
            return
        if self._server is None:
            self._early += data
        elif not self._server.is_closing():
            self._server.write(data)

    def pause_writing(self) -> None:
        self._is_slow_client = True
        self._balance()

    def resume_writing(self) -> None:
        self._is_slow_client = False
        self._balance()

    # -- the server

    def from_server(self, data: bytes) -> None:
        """Take bytes of an answer."""
        if self._is_deaf:
            return
        self._is_answered = True
        self._pending += data
        self._flow()

    def server_gone(self, *, is_reset: bool) -> None:
        """End the client's side too, once it has what came before."""
        self._is_server_gone = True
        if self._is_stalled or self._is_deaf:
            return
        if is_reset:
            self._reset()
        elif not self._pending:
            self._transport.close()

    # -- the proxy

    def strike(self, kind: WireFaultKind) -> None:
        """Break or stop this connection now."""
        if self._transport.is_closing() or self._is_deaf:
            return
        self._proxy.struck[kind] += 1
        if kind is WireFaultKind.STALL:
            self._is_stalled = True
        elif kind is WireFaultKind.CUT:
            self._transport.close()
        elif kind is WireFaultKind.HALF_CLOSE:
            self._is_deaf = True
            self._transport.write_eof()
        else:
            self._reset()

    def go_on(self) -> None:
        """Pass on again what was held."""
        if self._fault is not None and self._fault.kind is WireFaultKind.HANG:
            return  # its request is lost
        self._fault = None
        self._is_stalled = False
        self._flow()

    def drop(self) -> None:
        """Give up both connections."""
        self._transport.abort()

    # -- inside

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_connection(lambda: _ServerSide(self), "127.0.0.1", self._proxy.server_port)
        except OSError:
            self._reset()
            return
        if self._transport.is_closing():
            transport.abort()
            return
        self._server = transport
        if self._early:
            transport.write(bytes(self._early))
            self._early.clear()

    def _begin_turn(self) -> None:
        self._is_in_turn, self._is_answered = True, False
        self._passed = 0
        self._fault = fault = self._proxy.fault_of_turn()
        if fault is None:
            return
        if not _breaks(fault):
            self._proxy.struck[fault.kind] += 1
        if fault.kind is WireFaultKind.HANG:
            self._is_stalled = True
        elif fault.kind is WireFaultKind.DELAY:
            self._wait(fault.pause_s)

    def _flow(self) -> None:
        """Pass on what has come from the server, as far as the fault lets it."""
        if self._is_stalled or self._is_deaf or self._timer is not None or self._transport.is_closing():
            return
        fault = self._fault
        room = len(self._pending) if fault is None else self._room(fault)
        if room:
            self._transport.write(bytes(self._pending[:room]))
            del self._pending[:room]
            self._passed += room
        if fault is not None and self._is_answered and _breaks(fault) and self._passed >= fault.after_bytes:
            self._fault = None
            self.strike(fault.kind)
        elif self._pending:  # throttled
            self._wait(_TICK_S)
        elif self._is_server_gone:
            self._transport.close()
        self._balance()

    def _room(self, fault: WireFault) -> int:
        if fault.kind is WireFaultKind.THROTTLE:
            return min(len(self._pending), max(1, int(fault.bytes_per_s * _TICK_S)))
        if fault.kind is WireFaultKind.DELAY:
            return len(self._pending)
        return min(len(self._pending), fault.after_bytes - self._passed)

    def _wait(self, pause_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self._flow()

    def _balance(self) -> None:
        """Read no more from the server than the client takes."""
        if self._server is None or self._server.is_closing():
            return
        is_full = self._is_slow_client or len(self._pending) > _MANY_BYTES
        if is_full and self._server.is_reading():
            self._server.pause_reading()
        elif not is_full and not self._server.is_reading():
            self._server.resume_reading()

    def _reset(self) -> None:
        if not self._transport.is_closing():
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()


class _ServerSide(asyncio.Protocol):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def data_received(self, data: bytes) -> None:
        self._wire.from_server(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.server_gone(is_reset=exc is not None)
