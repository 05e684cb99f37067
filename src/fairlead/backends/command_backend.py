"""A command-line agent as a node: a program that takes a prompt on standard input and prints an answer."""

import asyncio
import codecs
import contextlib
import logging
from collections.abc import Sequence

from fairlead.backends.contract import Sink
from fairlead.backends.instance import kill_group
from fairlead.backends.spoken import Asked, Speaker, prompt_of, read_asked
from fairlead.dialects.contract import Dialect, NodeRequest
from fairlead.errors import BadRequestError, ConfigError, Fault

MAX_ANSWER_BYTES = 8 * 1024 * 1024
PIPE_END_S = 1.0
"""How long to wait for the end of a killed program's output, in seconds."""

logger = logging.getLogger("fairlead")


class _Run:
    """One run of the program; cancelling it kills the program."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.can_read = asyncio.Event()
        self.can_read.set()

    def cancel(self) -> None:
        """Kill the program; again does nothing, so that the first can see it end."""
        if self.task is not None and not self.task.cancelling():
            self.task.cancel()

    def pause(self) -> None:
        """Read no more for now."""
        self.can_read.clear()

    def resume(self) -> None:
        """Read again."""
        self.can_read.set()


class CommandBackend:
    """Runs the program once for each task, without a shell, with a time limit. The ledger's slots limit how many."""

    dialect = Dialect.OPENAI

    def __init__(self, command: Sequence[str], timeout_s: float = 600.0) -> None:
        if not command:
            raise ConfigError("a command node needs a command: a list of the program and its arguments")
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._runs: dict[asyncio.Task[None], _Run] = {}

    def send(self, request: NodeRequest, extra_head: bytes, sink: Sink) -> _Run:
        """Start the program on the request's prompt."""
        del extra_head  # there is no HTTP to add it to
        run = _Run()
        run.task = asyncio.get_running_loop().create_task(self._run(request, sink, run))
        self._runs[run.task] = run
        run.task.add_done_callback(self._runs.pop)
        return run

    async def close(self) -> None:
        """Kill what runs."""
        for run in tuple(self._runs.values()):
            run.cancel()
        if self._runs:
            await asyncio.wait(self._runs)

    async def _run(self, request: NodeRequest, sink: Sink, run: _Run) -> None:
        """Answer the request; whatever goes wrong, the sink is told of an end."""
        try:
            asked = read_asked(request)
        except BadRequestError as error:
            Speaker(request, Asked(), sink).refuse(404, str(error))
            return
        try:
            await self._answer(asked, Speaker(request, asked, sink), sink, run)
        except Exception as error:
            logger.exception("command %r: not foreseen", self._command[0])
            sink.on_error(Fault.UNAVAILABLE, f"{self._command[0]!r} could not be run: {type(error).__name__}")

    async def _answer(self, asked: Asked, speaker: Speaker, sink: Sink, run: _Run) -> None:
        prompt = prompt_of(asked).encode()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # so that what it starts ends with it, and Ctrl-C leaves it to the drain
            )
        except OSError as error:
            sink.on_error(Fault.CONNECT, f"cannot start {self._command[0]!r}: {error.strerror}")
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._converse(process, prompt, speaker, run)
                status = await process.wait()
        except TimeoutError:
            sink.on_error(Fault.TIMEOUT, f"{self._command[0]!r} took longer than {self._timeout_s:g} s")
        except _TooMuchError:
            sink.on_error(Fault.MALFORMED, f"{self._command[0]!r} printed more than {MAX_ANSWER_BYTES} bytes")
        else:
            if status == 0:
                speaker.finish()
            else:
                sink.on_error(Fault.UNAVAILABLE, f"{self._command[0]!r} ended with status {status}")
        finally:
            await _end(process)

    async def _converse(self, process: asyncio.subprocess.Process, prompt: bytes, speaker: Speaker, run: _Run) -> None:
        writer = asyncio.get_running_loop().create_task(_feed(process, prompt))
        try:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            size = 0
            while process.stdout is not None and (piece := await process.stdout.read(65536)):
                size += len(piece)
                if size > MAX_ANSWER_BYTES:
                    raise _TooMuchError
                if text := decoder.decode(piece):
                    speaker.say(text)
                await run.can_read.wait()
            if rest := decoder.decode(b"", final=True):
                speaker.say(rest)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer


class _TooMuchError(Exception):
    """The program does not stop printing."""


async def _feed(process: asyncio.subprocess.Process, prompt: bytes) -> None:
    if process.stdin is not None:
        # It need not read to the end, or at all; of a pipe that is closed already uvloop raises a RuntimeError.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            process.stdin.write(prompt)
            await process.stdin.drain()
            process.stdin.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        kill_group(process.pid)
        await process.wait()
    with contextlib.suppress(TimeoutError):  # its pipe ends with the last process that holds it
        async with asyncio.timeout(PIPE_END_S):
            while process.stdout is not None and await process.stdout.read(65536):
                pass
