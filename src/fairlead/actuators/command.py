"""Nodes started and stopped by a program of the user's.

It is run, without a shell, as `PROGRAM ARGUMENTS... up NODE` and `PROGRAM ARGUMENTS... down NODE`.

- `up` ends with status 0 when the node answers. Where the first line it prints is an address (`http://` or `https://`),
  that is where the node answers; else the node is expected to be known by its name. What it leaves running in the
  background stays, and should write to a log of its own.
- `down` ends with status 0 when the node is gone; for a node that is not there, too. It is also run after an `up` that
  failed or took too long, so that nothing is paid for that nobody uses.
- Any other status is a failure, and the last line on standard error says why.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from typing import IO

from fairlead.actuators.contract import Report
from fairlead.backends.instance import kill_group
from fairlead.errors import ConfigError

MAX_OUTPUT_BYTES = 64 * 1024
MAX_REASON_CHARS = 200


class Command:
    """Runs the user's program for each node that is started or stopped, with a time limit in seconds."""

    outlives = True

    def __init__(self, command: Sequence[str], timeout_s: float = 600.0) -> None:
        """Raises ConfigError without a program."""
        if not command:
            raise ConfigError("scaling by command needs a command: a list of the program and its arguments")
        self._command = tuple(command)
        self._timeout_s = timeout_s

    async def start(self, name: str) -> Report:
        """Run `up NAME`; after a failure also `down NAME`."""
        problem, said = await self._run("up", name)
        if problem:
            left, _ = await self._run("down", name)
            return Report(f"{problem}; {left}" if left else problem)
        line = said.lstrip().partition("\n")[0].strip()
        return Report(url=line if line.startswith(("http://", "https://")) else None)

    async def stop(self, name: str) -> Report:
        """Run `down NAME`."""
        problem, _ = await self._run("down", name)
        return Report(problem)

    async def close(self) -> None:
        """Do nothing: the nodes are not children of this process and stay for the next one."""

    async def _run(self, verb: str, name: str) -> tuple[str, str]:
        """Return what went wrong, or nothing, and what was printed."""
        program = f"{self._command[0]!r} {verb} {name}"
        # Files, not pipes: a server that `up` leaves running would hold a pipe open, or die of writing to one.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    verb,
                    name,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,  # what it starts ends with it when it must, and Ctrl-C leaves it alone
                )
            except (OSError, ValueError) as error:  # ValueError: a zero byte in an argument
                return f"cannot start {program}: {getattr(error, 'strerror', None) or error}", ""
            try:
                async with asyncio.timeout(self._timeout_s):
                    status = await process.wait()
            except TimeoutError:
                return f"{program} took longer than {self._timeout_s:g} s and was ended", ""
            finally:
                if process.returncode is None:
                    kill_group(process.pid)
                    await process.wait()
            return f"{program} ended with status {status}{_reason(err)}" if status else "", _beginning(out)


def _beginning(out: IO[bytes]) -> str:
    out.seek(0)
    return out.read(MAX_OUTPUT_BYTES).decode(errors="replace")


def _reason(err: IO[bytes]) -> str:
    err.seek(max(0, err.seek(0, os.SEEK_END) - MAX_OUTPUT_BYTES))
    lines = [line for line in err.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()[:MAX_REASON_CHARS]}" if lines else ""
