"""`fairlead drain`, `undrain` and `recover`: take a node out of service, give it back, close its circuit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import click
import msgspec

from fairlead.cli.asking import NoGatewayError, ask
from fairlead.cli.wording import clean, count
from fairlead.errors import FairleadError

_PAUSE_S = 0.5
_ADVICE = "start it with `fairlead serve`, or say with --url or --socket where to look"
Command = TypeVar("Command", bound=Callable[..., Any])


class Whom(NamedTuple):
    """Which gateway is told."""

    url: str
    unix_socket: Path | None
    key: str | None


class _Node(msgspec.Struct):
    name: str
    draining: bool = False
    leased: dict[str, float] = {}


class _Nodes(msgspec.Struct):
    nodes: list[_Node]


def _tells_a_gateway(command: Command) -> Command:
    """Give a command a node and the options of `Whom`."""
    parts = (
        click.argument("node", metavar="NODE"),
        click.option("--url", default="http://127.0.0.1:8400", show_default=True, help="The running gateway."),
        click.option("--socket", "unix_socket", type=click.Path(path_type=Path), help="Its local socket instead."),
        click.option("--key", envvar="FAIRLEAD_KEY", show_envvar=True, help="An admin's key, where it has keys."),
    )
    for part in reversed(parts):
        command = part(command)
    return command


@click.command()
@_tells_a_gateway
@click.option("--wait", is_flag=True, help="Return only when no task is left there.")
def drain(*, node: str, wait: bool, **whom: Any) -> int:
    """Give NODE no further tasks; what it is doing is finished."""
    gateway = Whom(**whom)
    _tell(node, "drain", gateway)
    click.echo(f"node {clean(node)} gets no further tasks; `fairlead undrain {clean(node)}` takes that back")
    return _wait(node, gateway) if wait else 0


@click.command()
@_tells_a_gateway
def undrain(*, node: str, **whom: Any) -> None:
    """Give NODE tasks again."""
    _tell(node, "undrain", Whom(**whom))
    click.echo(f"node {clean(node)} gets tasks again")


@click.command()
@_tells_a_gateway
def recover(*, node: str, **whom: Any) -> None:
    """Close the circuit of NODE now, for one that is known to be well again."""
    _tell(node, "recover", Whom(**whom))
    click.echo(f"node {clean(node)}: circuit closed")


def _tell(node: str, verb: str, whom: Whom) -> None:
    """Ask the gateway to do it. Raises NoGatewayError where nobody answers, and FairleadError where it refuses."""
    path = f"/admin/nodes/{quote(node, safe='')}/{verb}"
    try:
        ask(path, "done", url=whom.url, unix_socket=whom.unix_socket, key=whom.key or None, body=b"")
    except NoGatewayError as error:
        raise NoGatewayError(f"{error}: {_ADVICE}") from None


def _wait(node: str, whom: Whom) -> int:
    """Wait until no task is left on a node, telling how many are; returns 1 where somebody undrained it meanwhile."""
    from fairlead.cli import output

    out = output.console()
    before: int | None = None
    with out.status("") as status:  # shown in a terminal only
        while True:
            state = _state(node, whom)
            if state is not None and not state.draining:
                click.echo(f"node {clean(node)} was given tasks again meanwhile", err=True)
                return 1
            left = 0 if state is None else int(state.leased.get("slots", 0))
            if not left:
                break
            words = f"{count(left, 'task')} left on node {clean(node)}"
            status.update(words)
            if left != before and not out.is_terminal:
                click.echo(words)
            before = left
            _pause(_PAUSE_S)
    click.echo(f"no task is left on node {clean(node)}")
    return 0


def _state(node: str, whom: Whom) -> _Node | None:
    """Return how a node stands; None where it has left."""
    told = ask("/admin/nodes", "nodes", url=whom.url, unix_socket=whom.unix_socket, key=whom.key or None)
    try:
        page = msgspec.convert(told, _Nodes)
    except msgspec.ValidationError as error:
        raise FairleadError(f"the gateway tells this in another way ({error}); it is of another version") from None
    return next((one for one in page.nodes if one.name == node), None)


def _pause(seconds: float) -> None:
    from threading import Event

    Event().wait(seconds)
