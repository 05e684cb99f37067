"""`fairlead queue`: who waits for room, how long that takes, and how what arrives is met."""

from collections.abc import Iterator
from typing import Any

import click
import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fairlead.cli.capacity import Column, Paper, amount, bar, duration, facts, size, table
from fairlead.cli.watching import Asked, Subject, asks_a_gateway, present
from fairlead.cli.wording import clean, count, percent

_SUBJECT = Subject("/admin/queue", "classes")
_LINES_BESIDE_TENANTS = 17
_CLASSES = ("interactive", "normal", "batch")
_STAGES = {"calm": "green", "rising": "yellow", "spike": "red", "ramping_down": "yellow"}
_REASONS = {
    "deadline": "whose deadline could not be met",
    "too_long": "that would have waited too long",
    "full": "for which the queue was full",
    "shed": "of a class that was shed",
}


class _Class(msgspec.Struct):
    waiting: int
    tokens: int
    size_bytes: int
    oldest_wait_s: float
    expected_wait_s: float


class _Tenant(msgspec.Struct):
    waiting: int
    share: float
    served_tokens: int


class _Arrivals(msgspec.Struct):
    stage: str = "calm"
    why: str = ""
    shed: list[str] = []
    queue_share: float = 1.0
    affinity_worth: float = 1.0
    wants_more_nodes: bool = False


class QueuePage(msgspec.Struct):
    """The answer of `GET /admin/queue`."""

    classes: dict[str, _Class]
    tenants: dict[str, _Tenant] = {}
    drain_tokens_per_s: float = 0.0
    drain_tasks_per_s: float = 0.0
    usual_tokens_per_s: float = 0.0
    refused: dict[str, int] = {}
    evicted_total: int = 0
    expired_total: int = 0
    admitted_total: int = 0
    arrivals: _Arrivals = msgspec.field(default_factory=_Arrivals)
    max_wait_s: dict[str, float] = {}


@click.command()
@asks_a_gateway
def queue(**asked: Any) -> None:
    """Show who waits for room in a running gateway, by class and by tenant, and how long that takes."""
    present(_SUBJECT, QueuePage, view, Asked(**asked))


def view(page: QueuePage, paper: Paper) -> RenderableType:
    """Return who waits by class and by tenant; beneath, how what arrives is met and what became of it."""
    parts: list[Table | Text] = []
    if any(one.waiting for one in page.classes.values()):
        parts += _classes(page, paper)
        parts += _tenants(page, paper)
    else:
        parts.append(Text(clean(_nobody(page))))
    return Group(*parts, Text(), facts(_facts(page)))


def _nobody(page: QueuePage) -> str:
    waits = {name: duration(page.classes[name].expected_wait_s) for name in _CLASSES if name in page.classes}
    if len(set(waits.values())) == 1 and "normal" in waits:
        return f"nobody waits; expected wait for a normal task: {waits['normal']}"
    return "nobody waits; expected wait: " + ", ".join(f"{name} {wait}" for name, wait in waits.items())


def _classes(page: QueuePage, paper: Paper) -> list[Table | Text]:
    names = [*(name for name in _CLASSES if name in page.classes), *sorted(page.classes.keys() - set(_CLASSES))]
    each = [page.classes[name] for name in names]
    limits = [page.max_wait_s.get(name) for name in names]
    patience = [
        bar(paper, one.oldest_wait_s / limit) if limit and one.waiting else ""
        for one, limit in zip(each, limits, strict=True)
    ]
    is_known = page.drain_tokens_per_s > 0
    kept = [size(one.size_bytes) if one.waiting else "" for one in each]
    return table(
        paper,
        Column("class", names),
        Column("waiting", [str(one.waiting) for one in each], is_number=True),
        Column("oldest", [duration(one.oldest_wait_s) if one.waiting else "" for one in each], is_number=True),
        Column("expected", [duration(one.expected_wait_s) if is_known else "?" for one in each], is_number=True),
        Column("limit", ["" if limit is None else duration(limit) for limit in limits], is_number=True, may_go=True),
        Column("oldest of limit", patience, may_go=True),
        Column("tokens", [amount(one.tokens) if one.waiting else "" for one in each], is_number=True, may_go=True),
        Column("kept", kept, is_number=True, may_go=True),
    )


def _tenants(page: QueuePage, paper: Paper) -> list[Table | Text]:
    order = sorted(page.tenants.items(), key=lambda pair: (-pair[1].share, -pair[1].waiting, pair[0]))
    each = [one for _, one in order]
    if not page.tenants.keys() - {""}:
        return []
    drawn = table(
        paper,
        Column("tenant", [name or "(no tenant)" for name, _ in order]),
        Column("share", [bar(paper, one.share, high="green", full="green") if one.waiting else "" for one in each]),
        Column("waiting", [str(one.waiting) for one in each], is_number=True),
        Column("tokens served", [amount(one.served_tokens) for one in each], is_number=True),
        other_lines=_LINES_BESIDE_TENANTS,
    )
    return [Text(), *drawn]


def _facts(page: QueuePage) -> Iterator[tuple[str, str, str]]:
    waiting = sum(one.waiting for one in page.classes.values())
    if waiting:
        tokens = sum(one.tokens for one in page.classes.values())
        yield "waiting", f"{count(waiting, 'task')}, {amount(tokens)} tokens", ""
    yield "arrivals", _arrivals(page.arrivals), _STAGES.get(page.arrivals.stage, "")
    if waiting and not page.drain_tokens_per_s:
        yield "flow", "how long they wait is not known yet: nothing has ended since somebody waits", ""
    elif page.drain_tokens_per_s:
        drained = f"{amount(page.drain_tokens_per_s)} tokens/s ({page.drain_tasks_per_s:.2g} tasks/s) go away"
        usual = f"{amount(page.usual_tokens_per_s)} tokens/s usually come"
        yield "flow", f"{drained} while somebody waits; {usual}", ""
    yield "let in", f"{count(page.admitted_total, 'task')} that waited, since the start", ""
    refused = ", ".join(_refused(page))
    if refused:
        yield "refused", refused, "yellow"


def _refused(page: QueuePage) -> Iterator[str]:
    for why, number in page.refused.items():
        if number:
            yield f"{number} {_REASONS.get(why, why)}"
    if page.expired_total:
        yield f"{page.expired_total} that waited in vain"
    if page.evicted_total:
        yield f"{page.evicted_total} whose place went to others"


def _arrivals(met: _Arrivals) -> str:
    parts = [met.stage.replace("_", " ") + (f": {met.why}" if met.why else "")]
    if met.shed:
        parts.append(f"{', '.join(sorted(met.shed, key=_place))} work is refused")
    if met.queue_share < 1:
        parts.append(f"waits are held to {percent(met.queue_share)} of the usual")
    if met.affinity_worth < 1:
        parts.append(f"affinity counts {percent(met.affinity_worth)}")
    if met.wants_more_nodes:
        parts.append("more nodes would help")
    return "; ".join(parts)


def _place(name: str) -> int:
    return _CLASSES.index(name) if name in _CLASSES else len(_CLASSES)
