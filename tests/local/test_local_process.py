"""Real server processes: they start, say why not, and never outlive their owner."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fairlead.errors import FairleadError
from fairlead.local import process
from fairlead.local.cut import cut_layers
from fairlead.local.process import LocalServer, available
from fairlead.local.server import main
from fairlead.testing.llama import llama_fleet


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split() if Path("/proc").exists() else True


def test_a_server_stops_at_once_even_with_a_stream_running(replica: Path) -> None:
    with LocalServer.start(replica, "twin") as server:
        assert server.running
        connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
        body = '{"messages":[{"role":"user","content":"count"}],"stream":true,"ignore_eos":true}'
        connection.request("POST", "/v1/chat/completions", body)
        assert connection.getresponse().readline().startswith(b"data: ")
        server.stop()
        assert server.wait(0) == 0  # by SIGTERM, not by SIGKILL
        connection.close()
    assert not server.running


def test_a_server_that_does_not_listen_to_sigterm_is_killed(replica: Path) -> None:
    server = LocalServer.start(replica)
    os.kill(server.pid, signal.SIGSTOP)
    assert server.wait(0) is None
    server.stop(grace_s=0.1)
    assert server.wait() == -signal.SIGKILL


def test_a_server_ends_when_its_parent_is_killed(replica: Path) -> None:
    code = f"""if True:
        from pathlib import Path
        from fairlead.local.process import LocalServer
        server = LocalServer.start(Path({str(replica)!r}))
        print(server.pid, server.port, flush=True)
        input()
    """
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin
    assert parent.stdout
    with parent.stdin, parent.stdout:
        pid, port = map(int, parent.stdout.readline().split())
        parent.kill()
        parent.wait()
    tick = threading.Event()
    assert any(not alive(pid) or tick.wait(0.05) for _ in range(200))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_taken_port_is_one_sentence(replica: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FairleadError, match=f"port {port} is taken"):
            LocalServer.start(replica, port=port)


def test_a_file_that_is_no_model_is_said_by_the_engine(weights: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(FairleadError, match=r"did not start: .*failed to load model"):
        LocalServer.start(bad)
    with pytest.raises(FairleadError, match="there is no model file"):
        LocalServer.start(tmp_path / "none.gguf")


def test_a_server_that_is_too_slow_is_ended(replica: Path) -> None:
    with pytest.raises(FairleadError, match="did not answer within 0 s: it is still loading"):
        LocalServer.start(replica, timeout_s=0)


def test_without_the_engine_the_command_to_install_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "installed", lambda: False)
    assert not available()
    with pytest.raises(FairleadError, match=r"pip install 'fairlead\[local\]'"):
        LocalServer.start(tmp_path)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert main(["--gguf", "x"]) == 3
    assert "fairlead[local]" in capsys.readouterr().err


def test_a_fleet_deals_out_its_aliases_and_leaves_nothing(weights: Path) -> None:
    assert available()
    with llama_fleet(3, aliases=("a", "b")) as fleet:
        assert [server.alias for server in fleet] == ["a", "b", "a"]
        assert len({server.port for server in fleet}) == 3
    assert not any(server.running for server in fleet)


def test_a_fleet_with_one_that_fails_leaves_nothing(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[LocalServer] = []

    def start(gguf: Path, alias: str, **_settings: object) -> LocalServer:
        if alias == "b":
            raise FairleadError("no luck")
        started.append(LocalServer.start(gguf, alias))
        return started[-1]

    monkeypatch.setattr("fairlead.testing.llama.LocalServer", type("Fake", (), {"start": staticmethod(start)}))
    with pytest.raises(FairleadError, match="no luck"), llama_fleet(2, aliases=("a", "b")):
        pytest.fail("the fleet is not whole")
    assert [server.running for server in started] == [False]


def test_a_replica_is_a_third_of_the_model_and_made_once(weights: Path, replica: Path) -> None:
    assert replica.stat().st_size < weights.stat().st_size / 2
    before = replica.stat().st_mtime_ns
    assert cut_layers(weights, 2) == replica
    assert replica.stat().st_mtime_ns == before


def test_what_is_no_whole_model_is_not_cut(weights: Path, tmp_path: Path) -> None:
    whole = weights.read_bytes()
    for name, content in {"head": whole[:1_000_000], "most": whole[:-40_000_000], "text": b"hello" * 99}.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        with pytest.raises(FairleadError, match="is not a whole GGUF model file"):
            cut_layers(path)
    with pytest.raises(FairleadError, match="cannot cut"):
        cut_layers(tmp_path / "none.gguf")
    with pytest.raises(FairleadError, match="at least one layer"):
        cut_layers(weights, 0)
