"""Asks nodes whether they are there, at pages that cost them nothing: never for an answer of a model.

Only the status line is read and the connection then dropped: whatever a node would send after it, a long list of models
or a body without end, costs neither side anything.
"""

import asyncio
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from fairlead.clock import Clock, monotonic_s
from fairlead.config import NodeConfig, NodeKind
from fairlead.health.checks import CheckSchedule
from fairlead.health.config import CheckingConfig
from fairlead.httpget import GetError, tls_context

_CHECKABLE = (NodeKind.OPENAI, NodeKind.OLLAMA)
_MAX_LINE_BYTES = 4096
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")
_AGAIN = (408, 425, 429)
"""Statuses below 500 that do not mean that the page is not there."""
_NOT_IMPLEMENTED = 501
_LEAST_PAUSE_S = 0.001


class NodeChecker:
    """Asks each node when `CheckSchedule` says so, one check per node at a time, each within `config.timeout_s`.

    `on_result` is called with the node's name, whether it is well, and if not, why; it may not raise. A check that
    fails while the node answers a task tells nothing and is not reported. Gateways that share a fleet take different
    seeds, so that they do not ask at the same moments.
    """

    def __init__(
        self,
        on_result: Callable[[str, bool, str], None],
        config: CheckingConfig | None = None,
        *,
        clock: Clock = monotonic_s,
        seed: int = 0,
    ) -> None:
        self._on_result = on_result
        self._config = config or CheckingConfig()
        self._clock = clock
        self._schedule = CheckSchedule(self._config, seed)
        self._seats: dict[str, _Seat] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, node: NodeConfig) -> None:
        """Begin to check a node, in place of one of the same name; one that is not to be checked is left alone.

        Must be called inside a running event loop.
        """
        self.stop(node.name)
        if self._config.enabled and node.check and node.url is not None and node.kind in _CHECKABLE:
            self._seats[node.name] = _Seat(node)
            self._schedule.join(node.name, self._clock())
            self._arm()

    def stop(self, name: str) -> None:
        """Check a node no more; one that is not checked stays so."""
        seat = self._seats.pop(name, None)
        if seat is not None:
            self._schedule.leave(name)
            if seat.task is not None:
                seat.task.cancel()

    def answered(self, name: str) -> None:
        """The node answered a task just now, so there is no need to ask it for a while. Cheap: on every task's way."""
        seat = self._seats.get(name)
        if seat is not None:
            seat.answered_s = self._clock()

    def doubt(self, name: str) -> None:
        """Something went wrong with the node (its circuit opened, say): ask it soon, and often until it answers."""
        if name in self._seats:
            self._tell_answers()
            self._schedule.doubt(name, self._clock())
            self._arm()

    async def close(self) -> None:
        """Check nobody any more."""
        for name in tuple(self._seats):
            self.stop(name)
        self._arm()
        await asyncio.gather(*self._ending, return_exceptions=True)

    # -- inside

    def _arm(self) -> None:
        """Look again when the next node is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = self._schedule.next_due_s()
        if due_s is not None:
            pause_s = max(due_s - self._clock(), _LEAST_PAUSE_S)
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._look)

    def _look(self) -> None:
        self._tell_answers()
        for name in self._schedule.due(self._clock()):
            seat = self._seats[name]
            if seat.task is None:
                seat.task = task = asyncio.get_running_loop().create_task(self._check(seat), name=f"check {name}")
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        self._arm()

    def _tell_answers(self) -> None:
        """Tell the schedule who answered tasks since the last time: it is asked far less often than tasks end."""
        for name, seat in self._seats.items():
            if seat.answered_s > seat.told_s:
                seat.told_s = seat.answered_s
                self._schedule.answered(name, seat.answered_s)

    async def _check(self, seat: "_Seat") -> None:
        began_s = self._clock()
        why = await seat.door.look(self._config.timeout_s)
        seat.task = None
        has_answered = seat.answered_s >= began_s
        self._schedule.result(seat.name, not why or has_answered, self._clock())
        self._arm()
        if not (why and has_answered):
            self._on_result(seat.name, not why, why)


class _Seat:
    """A node that is checked."""

    def __init__(self, node: NodeConfig) -> None:
        self.name = node.name
        self.door = _Door(node)
        self.task: asyncio.Task[None] | None = None
        self.answered_s = self.told_s = float("-inf")
        """When it last answered a task, and what of that the schedule knows."""


class _Door:
    """Where a node is asked, and at which of its pages."""

    def __init__(self, node: NodeConfig) -> None:
        parts = urlsplit(node.url or "")
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "https"
        self._verify_tls = node.verify_tls
        self._port = parts.port or (443 if self._tls else 80)
        self._pages: tuple[str, ...] = (f"{parts.path}/api/version",)
        if node.kind is NodeKind.OPENAI:
            self._pages = (f"{parts.path.removesuffix('/v1')}/health", f"{parts.path}/models")
        self._page = 0
        lines = {"Host": parts.netloc, "Accept": "*/*", "Connection": "close", "User-Agent": "fairlead"}
        if node.api_key is not None:
            lines["Authorization"] = f"Bearer {node.api_key.reveal()}"
        lines |= {name: secret.reveal() for name, secret in node.headers.items()}
        self._lines = [f"{name}: {value}" for name, value in lines.items()]

    async def look(self, timeout_s: float) -> str:
        """Ask, and return what is wrong: nothing, where the node answers with any status below 500.

        The page that was there is remembered, until the node is not well: another server may come in its place.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask()
        except TimeoutError:
            why = f"it did not answer within {timeout_s:g} s"
        except ConnectionRefusedError:
            why = "nothing listens there"
        except GetError as error:
            why = str(error)
        except (OSError, ValueError) as error:  # a name that is no name is a ValueError
            why = f"the connection failed ({getattr(error, 'strerror', None) or type(error).__name__})"
        self._page = 0
        return why

    async def _ask(self) -> str:
        last = len(self._pages) - 1
        while True:
            page = self._pages[self._page]
            status = await self._status(page)
            if self._page < last and not _is_offered(status):
                self._page += 1
            elif status < 500:
                return ""
            else:
                raise GetError(f"{page} answers with status {status}")

    async def _status(self, page: str) -> int:
        """Return the status of a page. Raises GetError, and OSError and ValueError where there is no connection."""
        lines = [f"GET {page} HTTP/1.1", *self._lines]
        if any(not line.isprintable() for line in lines):
            raise GetError("the address or a header holds a character that HTTP cannot carry")
        secure = tls_context(self._verify_tls) if self._tls else None
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=secure, limit=_MAX_LINE_BYTES)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            line = error.partial
            if not line:
                raise GetError("it closed the connection before it answered") from None
        except asyncio.LimitOverrunError:
            line = b""
        finally:
            writer.transport.abort()  # an orderly end could wait for a server that says nothing more
        found = _STATUS_LINE.match(line)
        if found is None:
            raise GetError("its answer is not HTTP")
        return int(found[1])


def _is_offered(status: int) -> bool:
    """Return whether a page is there, and for us; one that fails counts as there."""
    return status in _AGAIN or not (300 <= status < 500 or status == _NOT_IMPLEMENTED)
