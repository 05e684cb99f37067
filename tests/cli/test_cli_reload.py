"""`fairlead reload`, and a gateway of its own that SIGHUP makes read its file again."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from fairlead.cli import main
from fairlead.cli.reload import ReloadPage, _Change, view
from fairlead.errors import FairleadError
from fairlead.httpget import get
from fairlead.testing.provider import FakeProvider, Fate, Reply

ANSWER_S = 20.0


def written(path: Path, provider: FakeProvider, *names: str, **more: object) -> None:
    nodes = [{"name": name, "url": provider.url, "models": ["m"], "poll": False} for name in names]
    path.write_text(json.dumps({"listen": "127.0.0.1:0", "reload": False, "nodes": nodes} | more))


class Gateway:
    """`fairlead serve FILE`, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line."""
        assert self.process.stderr is not None
        while True:
            line = await asyncio.wait_for(self.process.stderr.readline(), ANSWER_S)
            assert line, f"it ended without saying {pattern!r}"
            if found := re.search(pattern, line.decode()):
                return found

    async def fleet(self) -> Any:
        return (await get(f"{self.url}/admin/fleet", timeout_s=ANSWER_S, limit_bytes=2**20)).json()


@asynccontextmanager
async def serving(path: Path, *args: str) -> AsyncIterator[Gateway]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead", "serve", str(path), *args, stderr=asyncio.subprocess.PIPE
    )
    gateway = Gateway(process)
    try:
        gateway.url = (await gateway.says(r"at (http://127\.0\.0\.1:\d+)"))[1]
        yield gateway
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_sighup_reads_the_file_again_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "fleet.yaml"
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as provider:
            written(path, provider, "a", strategy="hybrid")
            async with serving(path, "--strategy", "random") as gateway:
                process = gateway.process
                written(path, provider, "a", "b", strategy="least_loaded")
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGHUP)
                await gateway.says(r"configuration: \+ node b")
                fleet = await gateway.fleet()
                assert [node["name"] for node in fleet["nodes"]] == ["a", "b"]
                assert fleet["strategy"] == "random"  # what the command line says goes on holding
                for text, why in ((None, "cannot be read"), ("", "there are no nodes"), ("nodes: [{", "expected")):
                    path.unlink(missing_ok=True)
                    if text is not None:
                        path.write_text(text)
                    process.send_signal(signal.SIGHUP)
                    assert why in (await gateway.says("the last good one is kept: (.*)"))[1]
                assert len((await gateway.fleet())["nodes"]) == 2
                body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
                asking = asyncio.create_task(
                    get(f"{gateway.url}/v1/chat/completions", body=body, timeout_s=ANSWER_S, limit_bytes=2**20)
                )
                while not provider.answering:
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGHUP)  # in the middle of the end, it does no harm
                await asyncio.sleep(0.2)
                provider.release()
                assert (await asking).status == 200
                assert await asyncio.wait_for(process.wait(), ANSWER_S) == 0

    asyncio.run(run())


def test_the_command_shows_what_changes_and_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed_port: int
) -> None:
    path = tmp_path / "fleet.yaml"

    async def run() -> None:
        async with FakeProvider() as provider:
            written(path, provider, "a")
            async with serving(path) as gateway:

                async def told(*args: str) -> tuple[int, str]:
                    code = await asyncio.to_thread(main, ["reload", "--url", gateway.url, *args])
                    said = capsys.readouterr()
                    return code, said.out + said.err

                written(path, provider, "a", "b", seed=4)
                code, text = await told("--dry-run")
                assert (code, text.splitlines()) == (
                    0, ["! seed: needs a restart", "+ node b", "1 change to be applied, 1 change for the next restart"]
                )  # fmt: skip
                code, text = await told("--json")
                assert code == 0
                assert json.loads(text)["reloaded"] is True
                written(path, provider, "a", "b")
                assert await told() == (0, "nothing has changed\n")
                path.write_text("nodes: [{}]")
                code, text = await told()
                assert code == 2
                assert f"{path}:1: nodes[0]" in text

    asyncio.run(run())
    assert main(["reload", "--url", f"http://127.0.0.1:{closed_port}"]) == 2
    assert "start it with `fairlead serve`" in capsys.readouterr().err


def test_what_is_no_gateway_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from fairlead.cli import reload

    monkeypatch.setattr(reload, "_tell", lambda *_, **__: {"reloaded": 3, "changes": {}})
    with pytest.raises(FairleadError, match="another version"):
        reload.reload.main(["--dry-run"], standalone_mode=False)
    with pytest.raises(click.UsageError):
        reload.reload.main(["--wrong"], standalone_mode=False)


def test_lines_are_coloured_and_carry_no_orders_to_the_terminal() -> None:
    page = ReloadPage(True, [_Change("+ node \x1b[31mred"), _Change("! listen: needs a restart", needs_restart=True)])
    text = view(page)
    assert "\x1b" not in text.plain
    assert text.plain.splitlines()[-1] == "1 change applied, 1 change for the next restart"
    assert {str(span.style) for span in text.spans} == {"green", "bold magenta", "bold"}
    console = Console(force_terminal=True, color_system="standard", width=80)
    with console.capture() as caught:
        console.print(text)
    assert "\x1b[32m" in caught.get()
