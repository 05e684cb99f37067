"""Which model servers run here, and which models a server has."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from fairlead.errors import FairleadError
from fairlead.httpget import Answer, GetError, RefusedError, get

Kind = Literal["openai", "ollama"]

_LIMIT_BYTES = 1 << 20
_LIST_LIMIT_BYTES = 8 << 20  # a cloud provider's list of models with all their properties
_SHOWS_AT_ONCE = 8
_LOOPBACKS = ("127.0.0.1", "[::1]")
_CONTEXT_KEYS = ("max_model_len", "context_length", "max_context_length", "context_window")
_OWNERS = {"llamacpp": "llama.cpp", "vllm": "vllm", "sglang": "sglang"}
"""What servers put into `owned_by`, and their names: another server than the usual one may have the port."""


class Candidate(NamedTuple):
    """A port where a model server usually listens."""

    port: int
    kind: Kind
    label: str


DEFAULT_PORTS: tuple[Candidate, ...] = (
    Candidate(11434, "ollama", "ollama"),
    Candidate(8000, "openai", "vllm"),
    Candidate(8080, "openai", "llama.cpp"),
    Candidate(1234, "openai", "lm-studio"),
    Candidate(30000, "openai", "sglang"),
)


class ModelSeen(msgspec.Struct, frozen=True):
    """A model as its server describes it; None where the server does not tell."""

    name: str
    context_tokens: int | None = None
    """Of prompt and answer together, for one task."""
    capabilities: frozenset[str] | None = None


class Found(msgspec.Struct, frozen=True):
    """What answered at an address: a server with models, or a note why it cannot be used."""

    name: str
    kind: Kind
    url: str
    """The node's address: ends in /v1 for `openai`."""
    models: tuple[ModelSeen, ...] = ()
    note: str = ""

    @property
    def usable(self) -> bool:
        """Whether it can be a node: it has models."""
        return bool(self.models)


async def discover(candidates: Sequence[tuple[int, Kind, str]] = DEFAULT_PORTS, timeout_s: float = 0.4) -> list[Found]:
    """Ask all candidate ports of this machine at once; what is not listening is left out, names are unique."""
    seen = await asyncio.gather(*(_probe(Candidate(*candidate), timeout_s) for candidate in candidates))
    taken: set[str] = set()
    found = []
    for one in filter(None, seen):
        name = one.name if one.name not in taken else f"{one.name}-{urlsplit(one.url).port}"
        taken.add(name)
        found.append(msgspec.structs.replace(one, name=name))
    return found


async def list_models(
    kind: Kind,
    base_url: str,
    api_key: str | None = None,
    timeout_s: float = 5.0,
    *,
    headers: Mapping[str, str] | None = None,
    verify_tls: bool = True,
) -> tuple[ModelSeen, ...]:
    """Ask a node for its models; raises `FairleadError` saying what it answered instead."""
    try:
        own = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        ask = _Asker(base_url.rstrip("/"), own | dict(headers or {}), timeout_s, _LIST_LIMIT_BYTES, verify_tls)
        return (await _models(kind, ask))[0]
    except GetError as error:
        raise FairleadError(f"cannot list the models of {_shown(base_url)}: {error}") from error


async def _probe(candidate: Candidate, timeout_s: float) -> Found | None:
    for host in _LOOPBACKS:
        root = f"http://{host}:{candidate.port}"
        found = Found(candidate.label, candidate.kind, root + ("/v1" if candidate.kind == "openai" else ""))
        health, listed = await asyncio.gather(
            get(f"{root}/health", timeout_s=timeout_s, limit_bytes=_LIMIT_BYTES),
            _models(candidate.kind, _Asker(found.url, {}, timeout_s, _LIMIT_BYTES)),
            return_exceptions=True,
        )
        if isinstance(health, Answer) and health.headers.get("server", "").startswith("fairlead"):
            return msgspec.structs.replace(found, name="fairlead", note="it is fairlead itself")
        if isinstance(listed, RefusedError):
            continue
        if isinstance(listed, GetError):
            return msgspec.structs.replace(found, note=str(listed))
        if isinstance(listed, BaseException):
            raise listed
        models, owner = listed
        note = "" if models else "it has no models"
        return msgspec.structs.replace(found, name=_OWNERS.get(owner, candidate.label), models=models, note=note)
    return None


async def _models(kind: Kind, ask: "_Asker") -> tuple[tuple[ModelSeen, ...], str]:
    """Return the models and what the server calls itself; raises `GetError`."""
    return (await _ollama_models(ask), "") if kind == "ollama" else await _openai_models(ask)


class _Asker(NamedTuple):
    base_url: str
    headers: dict[str, str]
    timeout_s: float
    limit_bytes: int
    verify_tls: bool = True

    async def __call__(self, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        answer = await get(
            self.base_url + path,
            headers=self.headers,
            body=None if body is None else msgspec.json.encode(body),
            timeout_s=self.timeout_s,
            limit_bytes=self.limit_bytes,
            verify_tls=self.verify_tls,
        )
        if answer.status in (401, 403):
            raise GetError(f"it wants a valid key (status {answer.status}): give it in a configuration file as api_key")
        if answer.status != 200:
            raise GetError(f"{path} answers with status {answer.status}")
        value = answer.json()
        if not isinstance(value, dict):
            raise GetError(f"{path} answers with something else than an object")
        return value


async def _openai_models(ask: _Asker) -> tuple[tuple[ModelSeen, ...], str]:
    rows = _rows(await ask("/models"), "data", "id")
    owner = next((str(row["owned_by"]) for row in rows if row.get("owned_by") in _OWNERS), "")
    told = [_context(row) for row in rows]
    if owner == "llamacpp" and None in told:  # older versions tell it only there
        props = await _props(ask)
        told = [tokens or props for tokens in told]
    return tuple(ModelSeen(row["id"], tokens) for row, tokens in zip(rows, told, strict=True)), owner


def _rows(listing: dict[str, Any], key: str, name_key: str) -> list[dict[str, Any]]:
    """Return the entries of a list of models that have a name; raises `GetError` when it is no such list."""
    rows = listing.get(key)
    if not isinstance(rows, list):
        raise GetError("its answer is not a list of models")
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get(name_key), str) and row[name_key]]


def _context(row: dict[str, Any]) -> int | None:
    """Return the tokens one task may have: what the server runs with rather than what the model was trained for."""
    meta = row.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    numbers = [meta.get("n_ctx"), *(row.get(key) for key in _CONTEXT_KEYS), meta.get("n_ctx_train")]
    return next(filter(None, map(_positive, numbers)), None)


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


async def _props(ask: _Asker) -> int | None:
    try:
        props = await ask._replace(base_url=ask.base_url.removesuffix("/v1"))("/props")
    except GetError:
        return None
    settings = props.get("default_generation_settings")
    return _positive(settings.get("n_ctx")) if isinstance(settings, dict) else None


async def _ollama_models(ask: _Asker) -> tuple[ModelSeen, ...]:
    version, tags = await asyncio.gather(ask("/api/version"), ask("/api/tags"))
    if not isinstance(version.get("version"), str):
        raise GetError("/api/version answers with something else than Ollama's version")
    names = [row["name"] for row in _rows(tags, "models", "name")]
    gate = asyncio.Semaphore(_SHOWS_AT_ONCE)
    shows = [asyncio.ensure_future(_ollama_show(ask, name, gate)) for name in names]
    if shows:
        _, late = await asyncio.wait(shows, timeout=ask.timeout_s)
        for show in late:
            show.cancel()
        await asyncio.gather(*shows, return_exceptions=True)
    return tuple(
        ModelSeen(name) if show.cancelled() else show.result() for name, show in zip(names, shows, strict=True)
    )


async def _ollama_show(ask: _Asker, name: str, gate: asyncio.Semaphore) -> ModelSeen:
    """Return what the server knows of a model; just its name when it does not tell."""
    try:
        async with gate:
            shown = await ask("/api/show", {"model": name})
    except GetError:
        return ModelSeen(name)
    info, told = shown.get("model_info"), shown.get("capabilities")
    info = info if isinstance(info, dict) else {}
    length = next((_positive(value) for key, value in info.items() if key.endswith(".context_length")), None)
    if not isinstance(told, list):
        return ModelSeen(name, length)
    abilities = {word for word in told if isinstance(word, str)}
    if "completion" in abilities:
        abilities.add("json")  # Ollama forces JSON on every model and lists it for none
    return ModelSeen(name, length, frozenset(abilities))


def _shown(url: str) -> str:
    """Return an address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
