"""`fairlead explain`: why a task went where it went, and what was learnt from it."""

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("decision_id", metavar="ID")
@click.option("--url", default="http://127.0.0.1:8400", show_default=True, help="The running gateway.")
@click.option("--socket", "unix_socket", type=click.Path(path_type=Path), help="Its local socket instead.")
@click.option("--key", envvar="FAIRLEAD_KEY", show_envvar=True, help="The key that made the decision, or an admin's.")
@click.option("--path", type=click.Path(path_type=Path), help="Read a state file instead of asking a gateway.")
@click.option("--full", is_flag=True, help="Every candidate, every rejection, and what each factor adds to a score.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def explain(
    *,
    decision_id: str,
    url: str,
    unix_socket: Path | None,
    key: str | None,
    path: Path | None,
    full: bool,
    as_json: bool,
) -> None:
    """Explain the decision ID, which every answer bears in its header x-fairlead-decision."""
    if path is not None:
        record = _stored(decision_id, path)
    else:
        record = _asked(decision_id, url, unix_socket, key or None, full=full)
    if as_json:
        import json

        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        from fairlead.cli.explaining import show

        show(record, full=full)


def _asked(decision_id: str, url: str, unix_socket: Path | None, key: str | None, *, full: bool) -> dict[str, Any]:
    """Ask the gateway; where none answers, the state file that it left behind, if it is one of this machine."""
    from fairlead.cli.asking import NoGatewayError, ask_decision

    try:
        return ask_decision(decision_id, url=url, unix_socket=unix_socket, key=key, full=full)
    except NoGatewayError as error:
        left = None if unix_socket else _left_behind(url)
        if left is None:
            advice = "start it with `fairlead serve`, or say with --url, --socket or --path where to look"
            raise NoGatewayError(f"{error}: {advice}") from None
        click.echo(f"{error}; read from {left}", err=True)
        return _stored(decision_id, left)


def _left_behind(url: str) -> Path | None:
    from urllib.parse import urlsplit

    from fairlead.config.addresses import is_loopback
    from fairlead.persistence.paths import default_path

    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return None
    path = default_path(parts.port or (443 if parts.scheme == "https" else 80))
    return path if path.is_file() else None


def _stored(decision_id: str, path: Path) -> dict[str, Any]:
    """Read a decision from a state file, whether or not a gateway is writing to it."""
    import sqlite3
    from contextlib import closing

    from fairlead.errors import FairleadError
    from fairlead.persistence.database import open_for_reading
    from fairlead.persistence.reading import read_decision

    with closing(open_for_reading(path)) as database:
        try:
            found = read_decision(database, decision_id)
        except sqlite3.Error as error:
            raise FairleadError(f"{path} cannot be read: {error}") from None
    if found is None:
        raise FairleadError(f"{path} keeps no decision {decision_id!r} in full; the oldest ones are dropped in time")
    told = found.told()
    plain: dict[str, Any] = {
        "id": found.id,
        "at": found.at_s,
        "outcome": found.outcome,
        "latency_ms": round(found.latency_s * 1000, 2),
        "first_token_ms": None if found.first_token_s is None else round(found.first_token_s * 1000, 2),
        "usage": {"input_tokens": found.input_tokens, "output_tokens": found.output_tokens},
        "prompt": found.prompt,
    }
    return plain | (told if "decision" in told else {"decision": told})
