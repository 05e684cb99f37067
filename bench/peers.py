"""The proxies that are measured: ours and its peers, each peer in a virtual environment of its own.

`python bench/peers.py install` makes the environments. A peer that cannot be installed or started is reported as a
figure that was missed.
"""

import os
import secrets
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proc import PROXY_CORE, ROOT, Process, StartError
from stub import MODEL

VENVS = ROOT / ".venv-peers"
PINS = {
    "sglang-router": "sglang-router==0.3.2",
    "vllm-router": "vllm-router==0.1.17",
    # The newest release whose own pins can all be met from the index.
    "litellm": "litellm[proxy]==1.106.2",
}


@dataclass(frozen=True)
class Launch:
    """How a proxy is started: command, environment, the key it asks for, and files that it reads."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    key: str = "sk-bench"


Launcher = Callable[[int, Sequence[int], Path], Launch]
"""Takes the port to listen on, the nodes' ports and a folder for configuration."""


def python_of(peer: str) -> Path:
    """Return the interpreter of a peer's environment, there or not."""
    return VENVS / peer / "bin" / "python"


def missing(name: str) -> str | None:
    """Say why a proxy cannot be measured, None when it can."""
    if name == "fairlead" or _stamp(name).exists():
        return None
    return f"{name} is not installed: run `make bench-peers`"


def _fairlead(port: int, nodes: Sequence[int], folder: Path) -> Launch:
    lines = [f"listen: 127.0.0.1:{port}", f"state: {{path: '{folder / 'state.db'}'}}", "nodes:"]
    lines += [f"  - {{name: stub-{node}, kind: openai, url: 'http://127.0.0.1:{node}/v1'}}" for node in nodes]
    path = folder / "bench.yaml"
    path.write_text("\n".join(lines) + "\n")
    return Launch([sys.executable, "-m", "fairlead", "serve", str(path)])


def _rust_router(module: str, peer: str) -> Launcher:
    def launch(port: int, nodes: Sequence[int], folder: Path) -> Launch:
        del folder
        argv = [str(python_of(peer)), "-m", module, "--host", "127.0.0.1", "--port", str(port)]
        argv += ["--worker-urls", *(f"http://127.0.0.1:{node}" for node in nodes)]
        # The cheapest policy of each; a free port, as the default one is the same for both.
        argv += ["--policy", "round_robin", "--prometheus-port", str(port + 1)]
        return Launch(argv, {"HF_HUB_OFFLINE": "1"})

    return launch


def _litellm(port: int, nodes: Sequence[int], folder: Path) -> Launch:
    lines = ["model_list:"]
    for node in nodes:
        params = f"{{model: openai/{MODEL}, api_base: 'http://127.0.0.1:{node}/v1', api_key: sk-stub}}"
        lines += [f"  - model_name: {MODEL}", f"    litellm_params: {params}"]
    path = folder / "litellm.yaml"
    path.write_text("\n".join(lines) + "\n")
    # It refuses to start without a key.
    key = f"sk-{secrets.token_hex(32)}"
    env = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    argv = [str(VENVS / "litellm" / "bin" / "litellm"), "--config", str(path), "--host", "127.0.0.1"]
    return Launch([*argv, "--port", str(port), "--telemetry", "False"], env, key)


LAUNCHERS: dict[str, Launcher] = {
    "fairlead": _fairlead,
    "sglang-router": _rust_router("sglang_router.launch_router", "sglang-router"),
    "vllm-router": _rust_router("vllm_router.launch_router", "vllm-router"),
    "litellm": _litellm,
}
START_LIMIT_S = {"fairlead": 10.0, "sglang-router": 30.0, "vllm-router": 30.0, "litellm": 90.0}


@dataclass
class Proxy:
    """A proxy that is up: its port, key, process and launch-to-first-answer time."""

    name: str
    port: int
    key: str
    process: Process
    first_answer_s: float


def first_request(port: int, key: str) -> bytes:
    """Return a small chat request; its answer proves that a proxy is up."""
    body = b'{"model":"%b","messages":[{"role":"user","content":"Say hello."}]}' % MODEL.encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def start(name: str, port: int, nodes: Sequence[int], folder: Path) -> Proxy:
    """Start a proxy before the nodes, and wait for its first answer. Raises StartError."""
    if why := missing(name):
        raise StartError(why)
    launch = LAUNCHERS[name](port, nodes, folder)
    process = Process(launch.argv, PROXY_CORE, launch.env)
    try:
        first_answer_s = process.wait_answer(port, first_request(port, launch.key), START_LIMIT_S[name])
    except BaseException:
        process.stop()
        raise
    return Proxy(name, port, launch.key, process, first_answer_s)


def _stamp(name: str) -> Path:
    """Return the file that is written when an installation is complete."""
    return VENVS / name / ".ready"


def install() -> int:
    """Make every peer's environment that is not there yet; returns how many could not be made."""
    failed = 0
    for name, pin in PINS.items():
        stamp = _stamp(name)
        if stamp.exists() and stamp.read_text() == pin:
            print(f"{pin} is installed")
            continue
        print(f"installing {pin} in {VENVS.name}/{name} ...", flush=True)
        stamp.unlink(missing_ok=True)
        venv.create(VENVS / name, with_pip=True, clear=True)
        argv = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", pin]
        if subprocess.run(argv, env=dict(os.environ), check=False).returncode:
            print(f"{pin} could not be installed; its figures will be reported as missed")
            failed += 1
        else:
            stamp.write_text(pin)
    return failed


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python bench/peers.py install")
    sys.exit(1 if install() else 0)
