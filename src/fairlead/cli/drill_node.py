"""`fairlead drill --node NAME`: a gentle look at a real node, and the line of configuration that follows from it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fairlead.errors import ConfigError

if TYPE_CHECKING:
    from fairlead.config import Config, NodeConfig
    from fairlead.orchestrator.probing import NodeProbe

TIMEOUT_S = 60.0
"""For all requests together: a node may have to load the model first."""
_RIGHT_FOR_UNKNOWN = (404, 400)


def probe(file: Path | None, name: str, *, as_json: bool) -> int:
    """Ask a node what it can do, tell it, and return the exit code: 0, or 1 where it could not be asked.

    Raises ConfigError where there is no such node, or none that speaks HTTP.
    """
    from fairlead.cli.fleet import fleet
    from fairlead.orchestrator.probing import NODE_COSTS

    with fleet(file) as config:
        node = _named(config, name)
        what = f"{NODE_COSTS.requests} short requests, {NODE_COSTS.output_tokens} tokens of answers at most"
        click.echo(f"Asking {node.name} at {node.url}: {what}.", err=True)
        model, found = asyncio.run(_look(config, node))
    if as_json:
        _print_json(node, model, found)
    else:
        _show(node, model, found)
    return 0 if found.is_reachable and not found.trouble else 1


def _named(config: "Config", name: str) -> "NodeConfig":
    node = next((one for one in config.nodes if one.name == name), None)
    if node is None:
        raise ConfigError(f"no node is called {name!r}; there are: {', '.join(one.name for one in config.nodes)}")
    if node.url is None:
        raise ConfigError(f"node {name!r} is a {node.kind} node: only those with a url can be asked")
    return node


async def _look(config: "Config", node: "NodeConfig") -> "tuple[str, NodeProbe]":
    """Ask about the node's first model; the connection is made as the gateway makes it."""
    from fairlead.config import NodeKind
    from fairlead.discovery import Kind, list_models
    from fairlead.orchestrator.build import target_of
    from fairlead.orchestrator.probing import probe_node

    if node.models:
        model = node.models[0].name
    else:
        key = None if node.api_key is None else node.api_key.reveal()
        headers = {header: secret.reveal() for header, secret in node.headers.items()}
        kind: Kind = "ollama" if node.kind is NodeKind.OLLAMA else "openai"
        seen = await list_models(kind, node.url or "", key, headers=headers, verify_tls=node.verify_tls)
        if not seen:
            raise ConfigError(f"node {node.name!r} names no model: put one under its `models`")
        model = seen[0].name
    backend = target_of(config, node, {}).backend
    try:
        return model, await probe_node(backend, model, TIMEOUT_S)
    finally:
        await backend.close()


def _show(node: "NodeConfig", model: str, found: "NodeProbe") -> None:
    from fairlead.cli.output import print_table

    rows = [("model", model), *_facts(found)]
    print_table(("asked of", node.name), rows)
    click.echo()
    if found.trouble:
        click.echo(f"Not everything was found out: {found.trouble}")
    line = _line(node, found)
    if line:
        click.echo(f"For rescues in mid-answer, put this below `name: {node.name}`:\n\n    {line}\n")
    elif found.continuation is not None:
        click.echo("The configuration says so already.")


def _facts(found: "NodeProbe") -> list[tuple[str, str]]:
    """Return what was found, in words."""
    if not found.is_reachable:
        return [("answers", "no")]
    first = "?" if found.first_token_s is None else f"{found.first_token_s * 1000:.0f} ms"
    unknown = found.unknown_model_status
    malformed = found.malformed_status
    goes_on = "not found out" if found.continuation is None else str(found.continuation)
    return [
        ("answers", "it takes connections, and no more" if found.status is None else f"yes, status {found.status}"),
        ("first token", first),
        ("end of a stream", _said(found.has_end_mark, "marked", "not marked: its finish reason must do")),
        ("finish reason", "not found out" if found.status is None else found.finish_reason or "none"),
        ("tokens", _said(found.has_usage, "told", "not told: the gateway counts, and says it is an estimate")),
        ("unknown model", _status(unknown, is_right=unknown in _RIGHT_FOR_UNKNOWN)),
        ("half a request", _status(malformed, is_right=malformed is not None and 400 <= malformed < 500)),
        ("goes on from a beginning", goes_on),
        ("this took", f"{found.costs.requests} requests, {found.costs.output_tokens} tokens at most"),
    ]


def _said(is_so: bool | None, yes: str, no: str) -> str:
    if is_so is None:
        return "not found out"
    return yes if is_so else no


def _status(status: int | None, *, is_right: bool) -> str:
    if status is None:
        return "not found out"
    return f"{status}" if is_right else f"{status}, where an error of the caller's is right"


def _line(node: "NodeConfig", found: "NodeProbe") -> str:
    """Return the line for the configuration; empty where it is there, or nothing is known."""
    if found.continuation is None or found.continuation == node.continuation:
        return ""
    return f"continuation: {found.continuation}"


def _print_json(node: "NodeConfig", model: str, found: "NodeProbe") -> None:
    import json

    import msgspec

    told = {"node": node.name, "model": model} | msgspec.to_builtins(found)
    click.echo(json.dumps(told | {"line": _line(node, found) or None}, indent=2))
