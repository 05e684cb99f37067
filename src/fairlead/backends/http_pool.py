"""Connections to one node: kept open, replaced when stale, never more than allowed."""

import asyncio
import ssl
from collections import deque

import msgspec

from fairlead.backends.http_connection import HttpConnection, Job
from fairlead.errors import Fault


class PoolLimits(msgspec.Struct, frozen=True):
    """Limits of one node's connections."""

    connect_s: float = 2.0
    max_connections: int = 1024
    max_idle: int = 256
    max_waiting: int = 4096


class HttpPool:
    """Sends jobs over kept connections, the most recently used first, so that spare ones grow stale together."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, limits: PoolLimits | None = None
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._limits = limits or PoolLimits()
        self._idle: list[HttpConnection] = []
        self._all: set[HttpConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiting: deque[Job] = deque()

    def send(self, job: Job) -> None:
        """Send a job on an idle connection, or on a new one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                connection.start(job)
                return
        self.connect(job)

    def connect(self, job: Job) -> None:
        """Send a job on a new connection; at the limit it waits for one to become free."""
        if len(self._all) + len(self._connecting) < self._limits.max_connections:
            task = asyncio.get_running_loop().create_task(self._open(job))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        elif len(self._waiting) < self._limits.max_waiting:
            self._waiting.append(job)
        else:
            message = f"all {self._limits.max_connections} connections to {self._host}:{self._port} are busy"
            asyncio.get_running_loop().call_soon(job.fail, Fault.CONNECT, message)

    def take_back(self, connection: HttpConnection) -> None:
        """Keep a connection whose answer is whole, or give it the next job."""
        while self._waiting:
            job = self._waiting.popleft()
            if not job.is_over:
                connection.start(job)
                return
        if len(self._idle) < self._limits.max_idle:
            self._idle.append(connection)
        else:
            connection.close()

    def forget(self, connection: HttpConnection) -> None:
        """A connection is gone: let one that waits have its place."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._let_next()

    async def close(self) -> None:
        """Close everything."""
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            job.fail(Fault.TRANSPORT, "its connections were given up")
        for task in tuple(self._connecting):
            task.cancel()
        if self._connecting:
            await asyncio.wait(self._connecting)
        for connection in tuple(self._all):
            connection.transport.abort()
        self._idle.clear()

    async def _open(self, job: Job) -> None:
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(self._limits.connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: HttpConnection(self),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except asyncio.CancelledError:  # the pool is closed
            job.fail(Fault.CONNECT, f"the connection to {where} was given up")
            raise
        except TimeoutError:
            self._give_up(job, f"no connection to {where} within {self._limits.connect_s:g} s")
            return
        except (OSError, ssl.SSLError) as error:
            self._give_up(job, f"no connection to {where}: {error.strerror or error}")
            return
        if connection.transport.is_closing():  # closed before it was told of the job
            self._give_up(job, f"{where} closed the connection at once")
            return
        self._all.add(connection)
        if job.is_over:  # its caller went away meanwhile
            self.take_back(connection)
        else:
            connection.start(job)

    def _give_up(self, job: Job, message: str) -> None:
        job.fail(Fault.CONNECT, message)
        asyncio.get_running_loop().call_soon(self._let_next)  # once this attempt no longer counts

    def _let_next(self) -> None:
        while self._waiting and len(self._all) + len(self._connecting) < self._limits.max_connections:
            job = self._waiting.popleft()
            if not job.is_over:
                self.connect(job)
