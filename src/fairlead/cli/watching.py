"""What a running gateway tells of its capacity: asked once, or again and again until Ctrl-C."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
import msgspec

from fairlead.cli.asking import NoGatewayError, ask
from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from fairlead.cli.capacity import Paper

_USUAL_PAUSE_S = 2.0
_ADVICE = "start it with `fairlead serve`, or say with --url or --socket where to look"

Page = TypeVar("Page", bound=msgspec.Struct)
Command = TypeVar("Command", bound=Callable[..., Any])


class Asked(NamedTuple):
    """What the options of such a command say."""

    url: str
    unix_socket: Path | None
    key: str | None
    as_json: bool
    watch_s: float | None


class Subject(NamedTuple):
    """What is asked for: a path, and the part by which its answer is known."""

    path: str
    part: str


def _number(_context: click.Context, _parameter: click.Parameter, seconds: float | None) -> float | None:
    if seconds is not None and seconds != seconds:  # noqa: PLR0124 - which only nan is not
        raise click.BadParameter("this is no number of seconds")
    return seconds


def asks_a_gateway(command: Command) -> Command:
    """Give a command the options of `Asked`."""
    options = (
        click.option("--url", default="http://127.0.0.1:8400", show_default=True, help="The running gateway."),
        click.option("--socket", "unix_socket", type=click.Path(path_type=Path), help="Its local socket instead."),
        click.option("--key", envvar="FAIRLEAD_KEY", show_envvar=True, help="An admin's key, where it has keys."),
        click.option("--json", "as_json", is_flag=True, help="For machines."),
        click.option(
            "--watch",
            "watch_s",
            is_flag=False,
            flag_value=_USUAL_PAUSE_S,
            type=click.FloatRange(0.2, 3600),
            callback=_number,
            metavar="[SECONDS]",
            help=f"Look again every so many seconds ({_USUAL_PAUSE_S:g} where none are said) until Ctrl-C.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def present(subject: Subject, page: type[Page], view: "Callable[[Page, Paper], RenderableType]", asked: Asked) -> None:
    """Ask, and print the answer; with `--watch`, in a terminal, keep it up to date.

    Raises NoGatewayError where nobody answers, and FairleadError, saying what to change, for a wrong answer.
    """
    from fairlead.cli import output
    from fairlead.cli.capacity import Paper

    if asked.as_json and asked.watch_s is not None:
        raise click.UsageError("--watch and --json: choose one")
    try:
        told = _ask(subject, asked)
    except NoGatewayError as error:
        raise NoGatewayError(f"{error}: {_ADVICE}") from None
    if asked.as_json:
        import json

        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    out = output.console()
    first = _understood(told, page, asked)
    if asked.watch_s is None or not out.is_terminal:
        out.print(view(first, Paper(out)))
    else:
        paper = Paper(out, is_bounded=True)
        pages = _pages(first, lambda: _understood(_ask(subject, asked), page, asked), asked.watch_s)
        _redraw(out, ((view(seen, paper), note) for seen, note in pages))


def _pages(seen: Page, look: Callable[[], Page], pause_s: float) -> "Iterator[tuple[Page, Text]]":
    """Look again and again; a gateway that is away for a while is waited for."""
    from rich.text import Text

    usual = note = Text(f"every {pause_s:g} s; Ctrl-C ends it", style="dim")
    while True:
        yield seen, note
        _pause(pause_s)
        try:
            seen, note = look(), usual
        except NoGatewayError as error:
            note = Text(f"{error}; this is what it told last", style="red")


def _redraw(out: "Console", drawn: "Iterable[tuple[RenderableType, Text]]") -> None:
    from rich.console import Group
    from rich.live import Live

    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        for body, note in drawn:
            live.update(Group(body, "", note), refresh=True)


def _ask(subject: Subject, asked: Asked) -> dict[str, Any]:
    return ask(subject.path, subject.part, url=asked.url, unix_socket=asked.unix_socket, key=asked.key or None)


def _understood(told: dict[str, Any], page: type[Page], asked: Asked) -> Page:
    try:
        return msgspec.convert(told, page)
    except msgspec.ValidationError as error:
        where = asked.unix_socket or asked.url
        raise FairleadError(
            f"the gateway at {where} tells this in another way ({error}); it is of another version than this command"
        ) from None


def _pause(seconds: float) -> None:
    from threading import Event

    Event().wait(seconds)
