"""The gateway as a process of its own: how it begins, and how it ends without losing anything."""

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gateway_shared import CHAT, Caller, chat, run, until

from fairlead.testing.provider import FakeProvider, Fate, Reply


@asynccontextmanager
async def serving(path: Path, *args: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Run `fairlead serve FILE` until it listens; give the process and its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead", "serve", str(path), *args, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        told = b""
        while (found := re.search(rb"at http://127\.0\.0\.1:(\d+)", told)) is None:
            line = await asyncio.wait_for(process.stderr.readline(), 20.0)
            assert line, told
            told += line
        yield process, int(found[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def written(tmp_path: Path, provider: FakeProvider, listen: str = "127.0.0.1:0") -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(f"listen: {listen}\nnodes:\n  - {{name: a, url: {provider.url}, models: [m]}}\n")
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_streams_finish_and_takes_nothing_new(tmp_path: Path, number: signal.Signals) -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(fate=Fate.STALL, pieces=8)) as provider,
            serving(written(tmp_path, provider)) as (process, port),
        ):
            one = Caller(*await asyncio.open_connection("127.0.0.1", port), "localhost")
            one.send("POST", CHAT, chat(stream=True))
            assert (await one.head()).status == 200
            waiting = Caller(*await asyncio.open_connection("127.0.0.1", port), "localhost")
            waiting.send("POST", CHAT, chat("whole"))
            await until(lambda: provider.answering == 2)
            process.send_signal(number)
            await until(lambda: is_closed(port))
            assert process.returncode is None
            provider.release()
            chunks = []
            while chunk := await one.chunk():
                chunks.append(chunk)
            assert b"".join(chunks).endswith(b"data: [DONE]\n\n")
            assert (await waiting.answer()).text == "echo: whole"
            assert await asyncio.wait_for(process.wait(), 5.0) == 0
            one.hang_up()
            waiting.hang_up()

    run(main())


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(fate=Fate.HOLD)) as provider,
            serving(written(tmp_path, provider)) as (process, port),
        ):
            one = Caller(*await asyncio.open_connection("127.0.0.1", port), "localhost")
            one.send("POST", CHAT, chat())
            await until(lambda: provider.answering == 1)
            process.terminate()
            await until(lambda: is_closed(port))
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 3.0) == -signal.SIGTERM
            one.hang_up()

    run(main())


def is_closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_big_answer_to_a_slow_reader_survives_the_end(tmp_path: Path) -> None:
    text = "z" * 20_000_000

    async def main() -> None:
        async with (
            FakeProvider(default=Reply(text=text)) as provider,
            serving(written(tmp_path, provider)) as (process, port),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            one = Caller(reader, writer, "localhost")
            one.send("POST", CHAT, chat())
            await one.head()
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # TCP transports can
            process.terminate()
            await until(lambda: is_closed(port))
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            body = await one.rest()
            assert json.loads(body)["choices"][0]["message"]["content"] == text
            assert await asyncio.wait_for(process.wait(), 5.0) == 0
            one.hang_up()

    run(main())


def test_a_port_in_use_is_one_sentence_with_the_flag_that_changes_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            path = written(tmp_path, provider, f"127.0.0.1:{provider.port}")
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fairlead", "serve", str(path), stderr=asyncio.subprocess.PIPE
            )
            _, told = await asyncio.wait_for(process.communicate(), 20.0)
            assert process.returncode == 2
            lines = told.decode().strip().splitlines()
            assert len(lines) == 1, told
            assert f"port {provider.port} is in use" in lines[0]
            assert "--listen 127.0.0.1:PORT" in lines[0]

    run(main())
