"""What the commands print and how they end."""

import base64
import hashlib
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from rich.console import Console

import fairlead.cli.output
from fairlead import __version__
from fairlead.cli import COMMANDS, cli, main
from fairlead.config import Config, NodeKind, load, loads
from fairlead.discovery import Found, ModelSeen
from fairlead.errors import ConfigError, NoModelError, UnknownStrategyError
from fairlead.persistence.paths import default_path

Run = Callable[..., Result]


def test_help_names_every_command(run: Run) -> None:
    shown = run("--help").output
    assert all(name in shown and line in shown for name, (_, line) in COMMANDS.items())
    assert run("--version").output == f"fairlead {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


class TestMain:
    def test_done(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert main(["key", "new"]) == 0
        assert capsys.readouterr().err == ""

    def test_errors_are_sentences(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = tmp_path / "f.yaml"
        path.write_text("seed: x\nstrategy: []\n")
        assert main(["check", str(path)]) == 2
        assert capsys.readouterr().err == (
            f'fairlead: {path}:1: seed: expected a whole number, not "x"\n'
            f"          {path}:2: strategy: expected a text, but a list stands here\n"
        )

    def test_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["chekc"]) == 2
        assert "No such command 'chekc'" in capsys.readouterr().err

    def test_interrupted(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "main", interrupt)
        assert main([]) == 130
        assert capsys.readouterr().err == ""


class TestCheck:
    def test_a_right_file(self, run: Run, fleet_file: Path) -> None:
        result = run("check", fleet_file)
        assert result.exit_code == 0
        lines = [line.split() for line in result.output.splitlines()]
        assert ["gpu-1", "openai", "127.0.0.1:8000", "coder,", "small", "16", "2"] in lines
        assert ["claude", "command", "claude", "claude", "2", "1"] in lines
        assert "coder  32768    json, tools  0.05 in, 0.15 out  coding 0.8, debugging 0.9" in result.output
        for fact in (
            "listen    127.0.0.1:8400 (this machine only)",
            "strategy  hybrid",
            "group     fast = coder, small",
            "alias     gpt-4o = coder",
            "fallback  coder, then small",
            "callers   need a key: alice, ops",
            "admin     key ops",
            f"{fleet_file} is right.",
        ):
            assert fact in result.output.splitlines()
        assert "secret" not in result.output

    def test_limits_scaling_and_the_terms_of_keys(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "fairlead.yaml"
        path.write_text(
            "nodes:\n"
            "- name: a\n"
            "  kind: simulated\n"
            "  capacity: {tokens: 120000, requests_per_minute: 60, gpu_memory_bytes: 24000000000}\n"
            "- {name: b, kind: simulated, capacity: {slots: 4, tokens_per_minute: 2000000, memory_bytes: 8000000000}}\n"
            "scaling: {actuator: command, command: [/opt/node.sh, --token, hidden], max_nodes: 3}\n"
            "keys:\n"
            "- {name: bulk, key: k, tenant: team, share: 2, priority: batch, max_priority: normal, "
            "requests_per_minute: 90, tokens_per_minute: 5000}\n"
            "- {name: usual, key: l}\n"
        )
        lines = [" ".join(line.split()) for line in run("check", path).output.splitlines()]
        assert lines[0].endswith("slots weight other limits")
        assert "a simulated in this process a ? 1 120k tokens, 60 requests/min, 24 GB GPU" in lines
        assert "b simulated in this process b 4 1 2M tokens/min, 8 GB" in lines
        assert "scaling 1 to 3 nodes, by node.sh" in lines
        terms = "tenant team, share 2, priority batch, never before normal, 90 requests/min, 5k tokens/min"
        assert f"key bulk: {terms}" in lines
        assert not any(line.startswith("key usual") or "hidden" in line for line in lines)

    @pytest.mark.parametrize(("actuator", "by"), [("dry-run", "says what it would do"), ("processes", "local model")])
    def test_who_scales(self, run: Run, tmp_path: Path, actuator: str, by: str) -> None:
        path = tmp_path / "fairlead.yaml"
        path.write_text(f"nodes: [{{kind: simulated}}]\nscaling: {{actuator: {actuator}}}\n")
        assert by in run("check", path).output

    def test_it_is_plain_in_a_pipe_and_fits_a_terminal(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        long = "nodes: [{url: 'https://a-long-name.example.org:8443', models: [" + ", ".join("abcdefghij" * 3) + "]}]"
        from fairlead.cli.check import show

        show(loads(long))
        plain = capsys.readouterr().out
        assert "\x1b" not in plain
        assert max(map(len, plain.splitlines())) > 80
        monkeypatch.setattr(
            fairlead.cli.output, "console", lambda err=False: Console(width=80, force_terminal=True, highlight=False)
        )
        show(loads(long))
        assert max(map(len, capsys.readouterr().out.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines())) <= 80

    def test_an_open_gateway_is_said_to_be_open(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "f.yaml"
        path.write_text("listen: 0.0.0.0:80\ninsecure: true\nunix_socket: /run/f\nnodes: [{kind: simulated}]")
        shown = run("check", path).output
        assert "listen    0.0.0.0:80 (other machines too)" in shown
        assert "callers   anyone who can reach the address: there are no keys" in shown
        assert "admin     socket /run/f" in shown
        assert "in this process" in shown

    def test_control_characters_do_not_reach_the_terminal(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "f.yaml"
        path.write_text('nodes: [{url: "http://a", name: "[red]x\\u001b[31m"}]')
        shown = run("check", path).output
        assert "[red]x[31m" in shown
        assert "\x1b" not in shown

    def test_an_unknown_strategy(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "f.yaml"
        path.write_text("strategy: hybird\nnodes: [{url: http://a}]")
        error = run("check", path).exception
        assert isinstance(error, ConfigError)
        assert str(error).startswith(f"{path}:1: strategy: unknown routing strategy 'hybird'; did you mean 'hybrid'?")

    def test_what_serve_would_refuse_is_told_with_its_lines(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "f.yaml"
        path.write_text(
            "strategy: hybird\n"
            "detector: ruels\n"
            "nodes: [{url: 'http://a', models: [m, n]}]\n"
            "cascades:\n"
            "- {name: x, models: [m, n]}\n"
            "- name: y\n"
            "  models: [m, n]\n"
            "  check:\n"
            "    plugin: nobody\n"
        )
        error = run("check", path).exception
        assert isinstance(error, ConfigError)
        said = str(error).splitlines()
        assert [line.split(" unknown ")[0] for line in said] == [
            f"{path}:1: strategy:",
            f"{path}:2: detector:",
            f"{path}:9: cascades[1].check.plugin:",
        ]
        assert "unknown task category detector 'ruels'; there are: rules, trained:PATH" in said[1]
        assert "unknown check 'nobody'; there are: " in said[2]

    @pytest.mark.parametrize(("content", "says"), [(None, "cannot be read: No such file"), (b"damaged", "weights: ")])
    def test_a_detector_whose_weights_cannot_be_used(
        self, run: Run, tmp_path: Path, content: bytes | None, says: str
    ) -> None:
        weights = tmp_path / "weights"
        if content is not None:
            weights.write_bytes(content)
        (tmp_path / "f.yaml").write_text(f"nodes: [{{url: 'http://a'}}]\ndetector: trained:{weights}\n")
        error = run("check", tmp_path / "f.yaml").exception
        assert isinstance(error, ConfigError)
        assert str(error).startswith(f"{tmp_path / 'f.yaml'}:2: detector: ")
        assert says in str(error)

    def test_a_plugin_that_cannot_be_imported_is_a_sentence(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(name: str) -> object:
            raise ImportError(f"no module for {name}")

        monkeypatch.setattr("fairlead.orchestrator.checks.plugin_named", broken)
        path = tmp_path / "f.yaml"
        path.write_text("nodes: [{url: 'http://a'}]\ncascades: [{name: x, models: [m, n], check: {plugin: p}}]\n")
        error = run("check", path).exception
        assert isinstance(error, ConfigError)
        assert str(error) == f"{path}:2: cascades[0].check.plugin: cannot be loaded: ImportError('no module for p')"


class TestKey:
    def test_a_key_and_its_lines(self, run: Run) -> None:
        key, _, rest = run("key", "new", "--name", "bob", "--admin").output.partition("\n")
        assert key.startswith("fl-")
        assert len(base64.urlsafe_b64decode(key[3:] + "=")) == 32
        (entry,) = loads("nodes: [{url: http://a}]\n" + rest).keys
        assert (entry.name, entry.admin, entry.key) == ("bob", True, None)
        assert entry.digest() == hashlib.sha256(key.encode()).digest()

    def test_two_are_never_the_same(self, run: Run) -> None:
        assert run("key", "new").output != run("key", "new").output

    @pytest.mark.parametrize("name", ["on: off", "#1", '"', "Zoë, née K."])
    def test_odd_names(self, run: Run, name: str) -> None:
        _, _, rest = run("key", "new", "--name", name).output.partition("\n")
        assert loads("nodes: [{url: http://a}]\n" + rest).keys[0].name == name

    def test_no_name(self, run: Run) -> None:
        assert run("key", "new", "--name", " ").exit_code == 2


class TestImport:
    def test_from_a_pipe(self, run: Run) -> None:
        text = "model_list: [{model_name: a, litellm_params: {model: ollama/a}}]"
        assert loads(run("import", "litellm", "-", text=text).output).nodes[0].kind is NodeKind.OLLAMA

    def test_no_text(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "c.yaml"
        path.write_bytes(b"\xff")
        assert "is not UTF-8 text" in str(run("import", "litellm", path).exception)
        assert run("import", "litellm", tmp_path / "none").exit_code == 2


class TestRoute:
    def test_for_people(self, run: Run, fleet_file: Path) -> None:
        shown = run("route", "-c", fleet_file, "debug the crash in the parser").output
        for line in (
            "category   debugging",
            "asked for  auto",
            "strategy   hybrid",
            "goes to    coder on gpu-1",
            "? nothing is known yet, which counts as the value shown",
        ):
            assert line in shown.splitlines()
        assert ">  coder      gpu-1" in shown
        assert "performance 0.50?" in shown

    def test_for_machines(self, run: Run, fleet_file: Path) -> None:
        args = (
            "route",
            "-c",
            fleet_file,
            "--json",
            "--strategy",
            "random",
            "--category",
            "coding",
            "--model",
            "small",
            "-",
        )
        record = json.loads(run(*args, text="anything").output)
        assert record["chosen"] == {"model": "small", "node": "gpu-1"}
        assert (record["category"], record["strategy"], record["asked_for"]) == ("coding", "random", "small")

    def test_the_same_prompt_goes_the_same_way(self, run: Run, fleet_file: Path) -> None:
        args = ("route", "-c", fleet_file, "--strategy", "random", "--json", "once more")
        assert len({run(*args).output for _ in range(8)}) == 1

    @pytest.mark.parametrize("name", ["fast", "gpt-4o"])
    def test_groups_and_aliases(self, run: Run, fleet_file: Path, name: str) -> None:
        record = json.loads(run("route", "-c", fleet_file, "--model", name, "--json", "x").output)
        assert record["chosen"]["model"] in {"coder", "small"}

    def test_what_is_ruled_out(self, run: Run, tmp_path: Path, closed_port: int) -> None:
        path = tmp_path / "f.yaml"
        dead = f"http://127.0.0.1:{closed_port}/v1"
        path.write_text(
            f"nodes: [{{url: http://a, models: [m, tiny]}}, {{name: dead, url: '{dead}'}}]\n"
            "models: [{name: tiny, context_tokens: 10}]"
        )
        shown = run("route", "-c", path, "-", text="word " * 100).output
        assert "context too small: 125 tokens needed, 10 there" in shown
        assert f"tells no models: cannot list the models of {dead}" in shown
        with pytest.raises(NoModelError, match="dead: cannot list the models of"):
            raise run("route", "-c", path, "--model", "nowhere", "x").exception or AssertionError

    def test_wrong_words(self, run: Run, fleet_file: Path) -> None:
        assert isinstance(run("route", "-c", fleet_file, "--strategy", "zzz", "x").exception, UnknownStrategyError)
        assert isinstance(run("route", "-c", fleet_file, "--model", "zzz", "x").exception, NoModelError)
        assert run("route", "-c", fleet_file, " ").exit_code == 2
        assert run("route", "-c", fleet_file, "--category", "zzz", "x").exit_code == 2


class FakeGateway:
    def __init__(self) -> None:
        self.served: list[Config] = []

    def serve(self, config: Config, on_ready: Callable[[str], None], **_: object) -> int:
        self.served.append(config)
        on_ready("http://127.0.0.1:8400")
        return 3


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    fake, module = FakeGateway(), types.ModuleType("fairlead.gateway")
    module.serve = fake.serve  # type: ignore[attr-defined]  # stands in for the real one
    monkeypatch.setitem(sys.modules, "fairlead.gateway", module)
    return fake


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """What is found on this machine."""
    found: list[Found] = []

    async def discover() -> list[Found]:
        return found

    monkeypatch.setattr("fairlead.discovery.discover", discover)
    return found


class TestServe:
    def test_a_file(self, run: Run, fleet_file: Path, gateway: FakeGateway) -> None:
        result = run("serve", fleet_file)
        assert result.exit_code == 3
        assert "fairlead leads to 2 nodes at http://127.0.0.1:8400" in result.output
        written = load(fleet_file)
        state = msgspec.structs.replace(written.state, path=str(default_path(8400)))
        assert gateway.served == [msgspec.structs.replace(written, state=state)]

    def test_the_command_line_goes_before_the_file(self, run: Run, fleet_file: Path, gateway: FakeGateway) -> None:
        run("serve", fleet_file, "--listen", "[::1]:9000", "--strategy", "random", "--log-level", "error")
        (config,) = gateway.served
        assert (config.host, config.port, config.strategy) == ("::1", 9000, "random")

    def test_a_wrong_address(self, run: Run, fleet_file: Path, gateway: FakeGateway) -> None:
        error = run("serve", fleet_file, "--listen", "9000").exception
        assert str(error) == "command line: listen: expected host:port, such as 127.0.0.1:8400"
        assert gateway.served == []

    def test_what_runs_here(self, run: Run, gateway: FakeGateway, here: list[Found]) -> None:
        here += [
            Found("ollama", "ollama", "http://127.0.0.1:11434", tuple(ModelSeen(f"m{i}") for i in range(9))),
            Found("vllm", "openai", "http://127.0.0.1:8000/v1", (ModelSeen("q"),)),
            Found("fairlead", "openai", "http://127.0.0.1:8080/v1", note="it is fairlead itself"),
        ]
        shown = run("serve").output
        (config,) = gateway.served
        assert [(node.name, node.kind, node.url) for node in config.nodes] == [
            ("ollama", NodeKind.OLLAMA, "http://127.0.0.1:11434"),
            ("vllm", NodeKind.OPENAI, "http://127.0.0.1:8000/v1"),
        ]
        assert "m0, m1, m2, m3, m4, m5 and 3 more" in shown
        assert "left out: it is fairlead itself" in shown

    def test_beyond_this_machine_without_a_file(self, run: Run, gateway: FakeGateway, here: list[Found]) -> None:
        here.append(Found("vllm", "openai", "http://127.0.0.1:8000/v1", (ModelSeen("q"),)))
        assert "no key guards it" in str(run("serve", "--listen", "0.0.0.0:80").exception)
        assert gateway.served == []
        assert run("serve", "--listen", "0.0.0.0:80", "--insecure").exit_code == 3

    def test_nothing_at_all(
        self, run: Run, gateway: FakeGateway, here: list[Found], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("FAIRLEAD_CACHE", str(tmp_path))
        error = run("serve").exception
        assert isinstance(error, ConfigError)
        assert [line.strip() for line in str(error).splitlines()[-2:]] == [
            "pip install '.[local]'",
            "fairlead local --yes",
        ]
        assert gateway.served == []
        assert here == []

    def test_the_own_model_where_nothing_else_runs(
        self, run: Run, gateway: FakeGateway, here: list[Found], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended: list[bool] = []

        class FakeServer:
            alias, url = "smollm2:135m", "http://127.0.0.1:5/v1"

            @classmethod
            def start(cls, gguf: Path) -> "FakeServer":
                assert gguf == Path("weights")
                return cls()

            def __enter__(self) -> "FakeServer":
                return self

            def __exit__(self, *_: object) -> None:
                ended.append(True)

        monkeypatch.setattr("fairlead.local.process.LocalServer", FakeServer)
        monkeypatch.setattr("fairlead.local.process.available", lambda: True)
        monkeypatch.setattr("fairlead.local.weights.find_weights", lambda: Path("weights"))
        assert "started smollm2:135m at http://127.0.0.1:5/v1" in run("serve").output
        assert gateway.served[0].nodes[0].url == "http://127.0.0.1:5/v1"
        assert ended == [True]
        assert here == []
