"""A llama.cpp server as a child process: started, waited for, stopped."""

import contextlib
import http.client
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from fairlead.clock import monotonic_s
from fairlead.errors import FairleadError
from fairlead.local.weights import ALIAS, find_weights

# The same word is in `server`, which is not imported here: it runs as a program.
_READY = "ready "
_POLL_S = 0.02
_TAIL_LINES = 4
_TAIL_CHARS = 600


def installed() -> bool:
    """Tell whether the engine `xllamacpp` can be imported, without importing it."""
    return importlib.util.find_spec("xllamacpp") is not None


def available() -> bool:
    """Tell whether a local model could start at once: engine installed, weights in the cache."""
    return installed() and find_weights() is not None


class LocalServer:
    """A running llama.cpp server on loopback; build it with `start`, or use `start` as a context manager."""

    def __init__(self, process: "subprocess.Popen[bytes]", host: str, port: int, alias: str) -> None:
        self._process = process
        self.host = host
        self.port = port
        self.alias = alias
        """The name of the model it serves."""

    @classmethod
    def start(
        cls,
        gguf: Path,
        alias: str = ALIAS,
        *,
        port: int = 0,
        parallel: int = 2,
        context_tokens: int = 2048,
        threads: int = 1,
        embeddings: bool = False,
        verbose: bool = False,
        timeout_s: float = 60.0,
    ) -> Self:
        """Start a server and return when it answers; port 0 takes a free one; raises `FairleadError` saying why not."""
        if not installed():
            raise FairleadError("the local model needs the package xllamacpp: pip install 'fairlead[local]'")
        if not gguf.is_file():
            raise FairleadError(f"there is no model file at {gguf}")
        if port and not _free(port):
            raise FairleadError(f"port {port} is taken: choose another one, or 0 for any")
        command = [sys.executable, "-m", "fairlead.local.server", "--gguf", str(gguf), "--port", str(port)]
        command += ["--alias", alias, "--parallel", str(parallel), "--ctx", str(context_tokens)]
        command += ["--threads", str(threads), "--parent", str(os.getpid())]
        command += ["--embeddings"] * embeddings + ["--verbose"] * verbose
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(  # noqa: S603 - this package's own module
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=None if verbose else err,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which stops the child when it has drained
            )
            try:
                return cls._when_ready(process, alias, out, err, timeout_s)
            except BaseException:
                _end(process, 0.0)
                raise

    @classmethod
    def _when_ready(
        cls, process: "subprocess.Popen[bytes]", alias: str, out: IO[bytes], err: IO[bytes], timeout_s: float
    ) -> Self:
        until_s = monotonic_s() + timeout_s
        while monotonic_s() < until_s:
            host, port = _address(_read(out))
            if port and _healthy(host, port):
                return cls(process, host, port, alias)
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_POLL_S)
                raise FairleadError(f"the model server for {alias} did not start: {_last_words(err, code)}")
        raise FairleadError(
            f"the model server for {alias} did not answer within {timeout_s:g} s: {_last_words(err, None)}"
        )

    @property
    def url(self) -> str:
        """The base address of its OpenAI API, ending in /v1."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._process.poll() is None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the child to end by itself; returns its exit code, None when the time is over first."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float = 3.0) -> None:
        """End the child: SIGTERM, and SIGKILL when it is still there after `grace_s`; twice does no harm."""
        _end(self._process, grace_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free(port: int) -> bool:
    """Tell whether a server could listen there now: the engine's own complaint would come late and unclear."""
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _end(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    if process.poll() is None and grace_s > 0:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    if process.poll() is None:
        process.kill()
        process.wait()


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _address(said: str) -> tuple[str, int]:
    """Return the host and port of the ready line; port 0 when it has not come yet."""
    for line in said.splitlines(keepends=True):
        if line.startswith(_READY) and line.endswith("\n"):
            host, _, port = line.removeprefix(_READY).strip().rpartition("://")[2].rpartition(":")
            return host, int(port)
    return "", 0


def _healthy(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_words(err: IO[bytes], code: int | None) -> str:
    """Return the engine's last error lines without their time stamps, or its exit code when it said nothing."""
    said = [line.partition(" E ")[2] or line for line in _read(err).splitlines() if line.strip()]
    state = "it is still loading" if code is None else f"exit code {code}"
    return "; ".join(" ".join(line.split()) for line in said[-_TAIL_LINES:])[-_TAIL_CHARS:] or state
