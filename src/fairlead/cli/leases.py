"""`fairlead leases`: what is taken of which node, by which task, for how long."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import click
import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from fairlead.cli.capacity import Column, Paper, amount, duration, size, table
from fairlead.cli.watching import Asked, Subject, asks_a_gateway, present
from fairlead.cli.wording import count
from fairlead.domain.priority import LEVELS, class_of

_SUBJECT = Subject("/admin/leases", "leases")
_SOON_S = 30.0


class _Lease(msgspec.Struct):
    id: int
    node: str
    age_s: float
    expires_in_s: float
    holds: dict[str, int] = {}
    written_tokens: int = 0
    task: str | None = None
    model: str | None = None
    tenant: str | None = None
    priority: int | None = None
    probe: bool = False


class LeasesPage(msgspec.Struct):
    """The answer of `GET /admin/leases`."""

    leases: list[_Lease]
    total: int = 0
    expired_total: int = 0


@click.command()
@asks_a_gateway
def leases(**asked: Any) -> None:
    """Show what the tasks of a running gateway hold of its nodes, the oldest first."""
    present(_SUBJECT, LeasesPage, view, Asked(**asked))


def view(page: LeasesPage, paper: Paper) -> RenderableType:
    """Return the leases as a table, the oldest first, with their sum beneath."""
    if not page.leases:
        return Text(f"no lease is out: no task is on a node now{_expired(page)}")
    each = sorted(page.leases, key=lambda one: (-one.age_s, one.id))
    columns = (
        Column("age", [duration(one.age_s) for one in each], is_number=True),
        Column("task", [(one.task or "?") + (" (probe)" if one.probe else "") for one in each]),
        Column("node", [one.node for one in each]),
        Column("class", [_class(one.priority) for one in each]),
        Column("slots", [_held(one, amount, "slots") for one in each], is_number=True, may_go=True),
        Column(
            "tokens",
            [_held(one, amount, "input_tokens", "output_tokens") for one in each],
            is_number=True,
            may_go=True,
        ),
        Column("written", [_written(one) for one in each], is_number=True, may_go=True),
        Column("memory", [_memory(one) for one in each], is_number=True, may_go=True),
        Column("model", [one.model or "" for one in each], may_go=True),
        Column("tenant", [one.tenant or "" for one in each], may_go=True),
        Column("expires in", [_expiry(one) for one in each], is_number=True, may_go=True),
    )
    return Group(*table(paper, *columns), Text(), Text(_totals(page)))


def _class(level: int | None) -> str:
    """Name the class, with the level where that is not the usual one of its class."""
    if level is None:
        return ""
    try:
        name = class_of(level).value
    except ValueError:
        return str(level)
    return name if LEVELS[name] == level else f"{name} ({level})"


def _held(lease: _Lease, written: Callable[[float], str], *names: str) -> str:
    held = sum(lease.holds.get(name, 0) for name in names)
    return written(held) if held else ""


def _written(lease: _Lease) -> str:
    """Tell how long the answer is so far, of what is reserved for it where anything is."""
    if not lease.written_tokens:
        return ""
    reserved = lease.holds.get("output_tokens", 0)
    return amount(lease.written_tokens) + (f"/{amount(reserved)}" if reserved else "")


def _memory(lease: _Lease) -> str:
    return _held(lease, size, "memory_bytes", "gpu_memory_bytes")


def _expiry(lease: _Lease) -> Text:
    return Text(duration(lease.expires_in_s), style="yellow" if lease.expires_in_s < _SOON_S else "")


def _totals(page: LeasesPage) -> str:
    shown, total = len(page.leases), max(page.total, len(page.leases))
    held: Counter[str] = Counter()
    for lease in page.leases:
        held.update(lease.holds)
    parts = [count(held["slots"], "slot")]
    if tokens := held["input_tokens"] + held["output_tokens"]:
        parts.append(f"{amount(tokens)} tokens")
    nodes = len({lease.node for lease in page.leases})
    listed = count(shown, "lease") if shown == total else f"{shown} of {total} leases"
    return f"{listed}: {' and '.join(parts)} on {count(nodes, 'node')}{_expired(page)}"


def _expired(page: LeasesPage) -> str:
    if not page.expired_total:
        return ""
    return f"; {count(page.expired_total, 'lease')} expired since the start: their owners had vanished"
