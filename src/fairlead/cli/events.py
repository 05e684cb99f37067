"""`fairlead events`: what happened lately to the nodes and tasks of a running gateway, once or as it happens."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click
import msgspec

from fairlead.cli.asking import NoGatewayError, ask
from fairlead.cli.wording import clean
from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_USUAL_NUMBER = 20
_MOST_AT_ONCE = 1000
_PAUSE_S = 1.0
_ADVICE = "start it with `fairlead serve`, or say with --url or --socket where to look"
_MARKS = {
    "good": ("●", "+", "green"),
    "info": ("·", "-", "dim"),
    "warning": ("▲", "!", "yellow"),
    "bad": ("✖", "x", "red"),
}
"""Severity: a mark, the same in ASCII, and its colour."""


class _Event(msgspec.Struct):
    number: int
    at: float
    severity: str
    text: str


class EventsPage(msgspec.Struct):
    """The answer of `GET /admin/events`, each event as it came."""

    events: list[dict[str, Any]]
    next: int
    started: float = 0.0


class _Question(msgspec.Struct, frozen=True):
    """Whom to ask for which events."""

    url: str
    unix_socket: Path | None
    key: str | None
    node: str | None
    kind: str | None

    def page(self, *, limit: int, after: int | None = None) -> EventsPage:
        """Return the newest events, or those after a number. Raises FairleadError where there is no such answer."""
        asked = {"limit": limit, "after": after, "node": self.node, "kind": self.kind}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        path = f"/admin/events?{query}"
        told = ask(path, "events", url=self.url, unix_socket=self.unix_socket, key=self.key or None)
        try:
            return msgspec.convert(told, EventsPage)
        except msgspec.ValidationError as error:
            raise FairleadError(f"the gateway tells this in another way ({error}); it is of another version") from None


@click.command()
@click.option("--url", default="http://127.0.0.1:8400", show_default=True, help="The running gateway.")
@click.option("--socket", "unix_socket", type=click.Path(path_type=Path), help="Its local socket instead.")
@click.option("--key", envvar="FAIRLEAD_KEY", show_envvar=True, help="An admin's key, where it has keys.")
@click.option("--node", metavar="NAME", help="Only what this node has a part in.")
@click.option("--kind", metavar="KIND", help="Only this kind, such as circuit_changed or failed_over.")
@click.option(
    "--last",
    type=click.IntRange(0, _MOST_AT_ONCE),
    default=_USUAL_NUMBER,
    show_default=True,
    metavar="N",
    help="How many of the newest.",
)
@click.option("--watch", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="For machines: one event a line.")
def events(*, last: int, watch: bool, as_json: bool, **question: Any) -> None:
    """Show what happened lately: circuits, health, failovers, rescues, draining, new configuration."""
    asked = _Question(**question)
    try:
        page = asked.page(limit=max(last, 1))
    except NoGatewayError as error:
        raise NoGatewayError(f"{error}: {_ADVICE}") from None
    printer = _as_json if as_json else _in_words
    newest = page.events[-last:] if last else []
    if not (newest or watch or as_json):
        click.echo("nothing happened yet" + (" of this sort" if asked.node or asked.kind else ""))
    printer(newest)
    if watch:
        for found in _following(asked, page):
            printer(found)


def _following(asked: _Question, seen: EventsPage) -> Iterator[list[dict[str, Any]]]:
    """Yield what happens after a page, for ever; a gateway that is away, or was started anew, is waited for."""
    is_away = False
    while True:
        if len(seen.events) < _MOST_AT_ONCE:  # else there may be more already
            _pause(_PAUSE_S)
        try:
            page = asked.page(limit=_MOST_AT_ONCE, after=seen.next)
            if page.started != seen.started:  # its numbers began anew
                page = asked.page(limit=_MOST_AT_ONCE, after=0)
        except NoGatewayError as error:
            if not is_away:
                click.echo(f"{error}; waiting for it", err=True)
            is_away = True
            continue
        is_away = False
        seen = page
        yield page.events


def _as_json(told: Iterable[dict[str, Any]]) -> None:
    import json

    for one in told:
        click.echo(json.dumps(one, ensure_ascii=False))


def _in_words(told: list[dict[str, Any]]) -> None:
    from fairlead.cli import output

    if told:
        out = output.console()
        try:
            known = msgspec.convert(told, list[_Event])
        except msgspec.ValidationError as error:
            raise FairleadError(f"the gateway tells this in another way ({error}); it is of another version") from None
        for event in known:
            out.print(line(event, out), soft_wrap=not out.is_terminal)


def line(event: _Event, out: "Console") -> "Text":
    """Return one line: when (in a terminal, the time alone for today), a mark in its colour, and what happened."""
    from rich.text import Text

    mark, plain, style = _MARKS.get(event.severity, _MARKS["info"])
    at = datetime.fromtimestamp(event.at).astimezone()
    is_today = out.is_terminal and at.date() == datetime.now().astimezone().date()
    return Text.assemble(
        (f"{at:%H:%M:%S} " if is_today else f"{at:%Y-%m-%d %H:%M:%S} ", "dim"),
        (plain if out.options.ascii_only else mark, style),
        " ",
        (clean(event.text), style if event.severity in ("warning", "bad") else ""),
    )


def _pause(seconds: float) -> None:
    from threading import Event

    Event().wait(seconds)
