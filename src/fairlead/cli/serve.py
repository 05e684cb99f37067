"""`fairlead serve`: the gateway."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fairlead.config import Config

_LEVELS = ("debug", "info", "warning", "error")


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--listen", metavar="HOST:PORT", help="Where to listen. [default: 127.0.0.1:8400]")
@click.option("--strategy", metavar="NAME", help="How a node is picked. [default: hybrid]")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine even without keys.")
@click.option("--yes", is_flag=True, help="Where no model server is found, fetch the small model without asking.")
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True, help="What is told.")
@click.pass_context
def serve(
    ctx: click.Context,
    file: Path | None,
    listen: str | None,
    strategy: str | None,
    insecure: bool,
    yes: bool,
    log_level: str,
) -> None:
    """Serve the fleet of FILE, or the model servers that are found on this machine, under one address.

    FILE is read again when it changes, on SIGHUP and by `fairlead reload`; what the options say goes on holding.
    """
    from fairlead.cli.fleet import fleet

    _log_at(log_level)
    with fleet(file, may_fetch=yes) as written:

        def overlay(config: "Config") -> "Config":
            return with_state(changed(config, listen=listen, strategy=strategy, insecure=insecure))

        config = overlay(written)
        from fairlead.gateway import serve as run

        ctx.exit(run(config, lambda address: _greet(address, config), path=file, overlay=overlay))


def _greet(address: str, config: "Config") -> None:
    count = len(config.nodes)
    click.echo(f"fairlead leads to {count} node{'s' * (count != 1)} at {address}; Ctrl-C ends it.", err=True)
    click.echo(f"  OpenAI clients: base_url {address}/v1    Ollama clients: host {address}    model: auto", err=True)


def changed(config: "Config", *, listen: str | None, strategy: str | None, insecure: bool = False) -> "Config":
    """Return the configuration with what the command line says in its place; raises ConfigError where that is wrong."""
    import msgspec

    from fairlead.config import validate

    said: dict[str, object] = {"listen": listen, "strategy": strategy, "insecure": insecure or None}
    own = {name: value for name, value in said.items() if value is not None}
    return validate(msgspec.structs.replace(config, **own), "command line") if own else config


def with_state(config: "Config") -> "Config":
    """Return the configuration with the state file of its port, where it leaves the choice open."""
    import msgspec

    from fairlead.persistence.paths import default_path

    state = config.state
    if not state.enabled or state.path is not None or not config.port:  # a port of chance finds no state again
        return config
    return msgspec.structs.replace(config, state=msgspec.structs.replace(state, path=str(default_path(config.port))))


def _log_at(level: str) -> None:
    import logging

    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(message)s")
