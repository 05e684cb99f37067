"""`fairlead reload`: have a running gateway read its configuration again, and show what that changes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from fairlead.cli.asking import NoGatewayError, ask
from fairlead.cli.wording import clean, count
from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from rich.text import Text

_ADVICE = "start it with `fairlead serve`, or say with --url or --socket where to look"
_PATH = "/admin/reload"
_STYLES = {"+": "green", "-": "red", "~": "yellow", "!": "bold magenta"}


class _Change(msgspec.Struct):
    line: str
    needs_restart: bool = False


class ReloadPage(msgspec.Struct):
    """The answer of `POST /admin/reload`."""

    reloaded: bool
    changes: list[_Change]


class Whom(NamedTuple):
    """Which gateway is told."""

    url: str
    unix_socket: Path | None
    key: str | None


@click.command()
@click.option("--dry-run", is_flag=True, help="Check the file and show what would change, and change nothing.")
@click.option("--url", default="http://127.0.0.1:8400", show_default=True, help="The running gateway.")
@click.option("--socket", "unix_socket", type=click.Path(path_type=Path), help="Its local socket instead.")
@click.option("--key", envvar="FAIRLEAD_KEY", show_envvar=True, help="An admin's key, where it has keys.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def reload(*, dry_run: bool, as_json: bool, **whom: Any) -> None:
    """Have a running gateway read its file again, and show what changes.

    A file that is wrong changes nothing: the gateway goes on with the last good one, and what is wrong is shown.
    """
    from fairlead.cli import output

    told = _tell(Whom(**whom), is_dry_run=dry_run)
    if as_json:
        import json

        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    try:
        page = msgspec.convert(told, ReloadPage)
    except msgspec.ValidationError as error:
        raise FairleadError(f"the gateway tells this in another way ({error}); it is of another version") from None
    output.console().print(view(page))


def view(page: ReloadPage) -> "Text":
    """Return the changes, a line each, and what became of them."""
    from rich.text import Text

    lines = [Text(clean(one.line), style=_STYLES.get(one.line[:1], "")) for one in page.changes]
    return Text("\n").join([*lines, Text(_outcome(page), style="bold")])


def _outcome(page: ReloadPage) -> str:
    if not page.changes:
        return "nothing has changed" if page.reloaded else "nothing would change"
    later = sum(one.needs_restart for one in page.changes)
    now = len(page.changes) - later
    told = (
        [f"{count(now, 'change')} applied" if page.reloaded else f"{count(now, 'change')} to be applied"] if now else []
    )
    return ", ".join([*told, f"{count(later, 'change')} for the next restart"] if later else told)


def _tell(whom: Whom, *, is_dry_run: bool) -> dict[str, Any]:
    """Ask the gateway to do it. Raises NoGatewayError where nobody answers, and FairleadError where it refuses."""
    body = msgspec.json.encode({"dry_run": is_dry_run})
    try:
        return ask(_PATH, "reloaded", url=whom.url, unix_socket=whom.unix_socket, key=whom.key or None, body=body)
    except NoGatewayError as error:
        raise NoGatewayError(f"{error}: {_ADVICE}") from None
