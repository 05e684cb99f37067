"""Which fleet a command works on: that of a file, what runs on this machine, or the model that comes along."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fairlead.errors import ConfigError

if TYPE_CHECKING:
    from fairlead.config import Config, NodeConfig
    from fairlead.discovery import Found

_NOTHING_FOUND = """no usable model server answers on this machine, and fairlead's own small model is not there yet.
Start yours, or fetch that one (in the checkout of fairlead):
    pip install '.[local]'
    fairlead local --yes"""
_NAMES_SHOWN = 6


@contextmanager
def fleet(file: Path | None, *, may_fetch: bool = False) -> Iterator["Config"]:
    """Give the configuration of a file, or of what was found; a model started for it ends with the block.

    `may_fetch` allows the weights of the small model to be fetched where nothing else is found. Raises ConfigError for
    a file that is wrong, and where nothing was found, saying what would mend that.
    """
    from fairlead.config import Config, load

    if file is not None:
        yield load(file)
        return
    found = _discover()
    if found:
        _list(found)
    if usable := [one for one in found if one.usable]:
        yield Config(nodes=tuple(_node(one) for one in usable))
        return
    with _own_model(may_fetch=may_fetch) as config:
        yield config


def _discover() -> "list[Found]":
    import asyncio

    from fairlead.discovery import discover

    return asyncio.run(discover())


def _node(found: "Found") -> "NodeConfig":
    from fairlead.config import NodeConfig, NodeKind

    # the models are left out: what a node has changes while the gateway runs, so it is asked
    return NodeConfig(name=found.name, url=found.url, kind=NodeKind(found.kind))


def _list(found: "list[Found]") -> None:
    from fairlead.cli.output import print_table

    rows = [(one.name, one.url, _says(one)) for one in found]
    print_table(("found here", "address", "models"), rows, err=True)


def _says(found: "Found") -> str:
    if not found.usable:
        return f"left out: {found.note}"
    names = [model.name for model in found.models]
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def _own_model(*, may_fetch: bool) -> Iterator["Config"]:
    from fairlead.config import Config, NodeConfig, NodeKind
    from fairlead.local.process import LocalServer, installed
    from fairlead.local.weights import fetch_weights, find_weights

    weights = find_weights()
    if weights is None and may_fetch and installed():
        weights = fetch_weights(lambda line: click.echo(line, err=True))
    if weights is None or not installed():
        raise ConfigError(_NOTHING_FOUND)
    with LocalServer.start(weights) as server:
        click.echo(f"No model server was found; started {server.alias} at {server.url}.", err=True)
        yield Config(nodes=(NodeConfig(name="local", url=server.url, kind=NodeKind.OPENAI),))
