"""The servers that tell of themselves: which pages each has, how they are read, and how the server is known."""

from collections.abc import Callable
from typing import NamedTuple

from fairlead.polling import llamacpp, ollama, sglang, vllm
from fairlead.polling.told import PollError, Told, object_of, rows_of


class Page(NamedTuple):
    """One address of a server."""

    path: str
    """Below the node's address without its `/v1`."""
    read: Callable[[bytes], Told]
    every_s: float = 0.0
    """How long what it told is taken to hold before it is asked again; 0: it holds for this moment only."""
    disturbs: bool = False
    """Asking may wake the server or keep it awake, so it is left alone while the node has nothing to do."""
    instead_of: str = ""
    """Asked only where that page is not offered."""
    hint: str = ""
    """What mends it where the page is not offered; nothing is said of a page without one."""


class Server(NamedTuple):
    """A kind of server. What a later page tells goes before what an earlier one told."""

    name: str
    pages: tuple[Page, ...]
    mark: bytes = b""
    """What its metrics begin with."""


VLLM = Server("vllm", (Page("/metrics", vllm.read_metrics, hint="let vLLM show its metrics"),), b"vllm:")
SGLANG = Server(
    "sglang",
    (
        Page("/get_server_info", sglang.read_server_info, every_s=60.0),
        Page("/server_info", sglang.read_server_info, every_s=60.0, instead_of="/get_server_info"),
        Page("/metrics", sglang.read_metrics, hint="start SGLang with --enable-metrics"),
    ),
    b"sglang:",
)
LLAMACPP = Server(
    "llama.cpp",
    (
        Page("/v1/models", llamacpp.read_models, every_s=10.0),
        Page("/props", llamacpp.read_props),
        Page("/metrics", llamacpp.read_metrics, disturbs=True),
        Page(
            "/slots",
            llamacpp.read_slots,
            disturbs=True,
            instead_of="/metrics",
            hint="start llama.cpp with --metrics or --slots",
        ),
    ),
    b"llamacpp:",
)
OLLAMA = Server("ollama", (Page("/api/ps", ollama.read_ps, hint="Ollama has it from version 0.1.33 on"),))

_BY_OWNER = {"vllm": VLLM, "sglang": SGLANG, "llamacpp": LLAMACPP, "library": OLLAMA}
"""By what servers put into `owned_by` in their list of models."""


def server_by_models(body: bytes) -> Server | None:
    """Return the server that wrote this list of models; None where it does not tell."""
    try:
        owners = [row.get("owned_by") for row in rows_of(object_of(body).get("data"))]
    except PollError:
        return None
    return next((_BY_OWNER[owner] for owner in owners if isinstance(owner, str) and owner in _BY_OWNER), None)


def server_by_metrics(body: bytes) -> Server | None:
    """Return the server that wrote this page of metrics; None for any other."""
    return next((server for server in (VLLM, SGLANG, LLAMACPP) if b"\n" + server.mark in b"\n" + body), None)
