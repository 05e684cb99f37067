"""Instances: what a program registers with a `TaskRouter` and sends its prompts to."""

import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Protocol, runtime_checkable

from fairlead.errors import FairleadError

MAX_OUTPUT_BYTES = 8 * 1024 * 1024


@runtime_checkable
class Instance(Protocol):
    """Something that takes prompts: a session of a model, or a program that stands for one."""

    def send_prompt(self, prompt: str) -> None:
        """Give it a prompt; returns at once."""
        ...

    def has_updated(self) -> tuple[bool, bool]:
        """Tell whether there is new output since the last call, and whether it waits for the next prompt."""
        ...


def kill_group(pid: int) -> None:
    """Kill a program that leads a session of its own, and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)


class CommandInstance:
    """A command-line agent: each prompt runs `program` in the folder `path`, prompt on standard input.

    Raises FairleadError when the program cannot be started or is still busy with the last prompt.
    """

    def __init__(self, title: str, path: str | Path, program: list[str]) -> None:
        self.title = title
        self.path = Path(path)
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._output = bytearray()
        self._seen = 0

    @property
    def output(self) -> str:
        """What the program has printed for the current prompt, at most the first 8 MiB."""
        with self._lock:
            return self._output.decode(errors="replace")

    @property
    def returncode(self) -> int | None:
        """Exit status of the last run; None before the first and while one is going on."""
        return None if self._process is None else self._process.poll()

    def send_prompt(self, prompt: str) -> None:
        """Start the program on a prompt."""
        if self._process is not None and self._process.poll() is None:
            raise FairleadError(f"{self.title} is still busy with its last prompt: wait() for it or stop() it")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the program is the user's own choice, run without a shell
                self.program,
                cwd=self.path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise FairleadError(f"cannot start {self.program[0]!r} for {self.title}: {error.strerror}") from error
        with self._lock:
            self._output.clear()
            self._seen = 0
        jobs = ((self._write, (self._process, prompt.encode())), (self._read, (self._process,)))
        self._readers = [threading.Thread(target=job, args=args, daemon=True) for job, args in jobs]
        for reader in self._readers:
            reader.start()

    def has_updated(self) -> tuple[bool, bool]:
        """Tell whether there is new output since the last call, and whether the program has ended its answer."""
        is_waiting = self._process is None or self._process.poll() is not None
        with self._lock:
            is_new = len(self._output) > self._seen
            self._seen = len(self._output)
        return is_new, is_waiting

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait for the answer and return it. Raises FairleadError, and stops the program, when it takes too long."""
        if self._process is not None:
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.stop()
                raise FairleadError(f"{self.title} gave no answer within {timeout_s:g} s and was stopped") from None
            for reader in self._readers:
                reader.join()
        return self.output

    def stop(self) -> None:
        """End the program, if it runs."""
        if self._process is not None:
            if self._process.poll() is None:
                kill_group(self._process.pid)
            self._process.wait()
            for reader in self._readers:
                reader.join()

    def _write(self, process: "subprocess.Popen[bytes]", data: bytes) -> None:
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError), process.stdin as stream:  # it need not read to the end
                stream.write(data)

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        if process.stdout is not None:
            with process.stdout as stream:
                while piece := stream.read1(65536):  # type: ignore[attr-defined]  # a BufferedReader: bufsize is not 0
                    with self._lock:
                        self._output += piece[: MAX_OUTPUT_BYTES - len(self._output)]
