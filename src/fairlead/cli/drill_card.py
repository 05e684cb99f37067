"""The scorecard of a drill, for people: a line for each fault, streamed and in one piece side by side."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from fairlead.cli.capacity import Column, Paper, table
from fairlead.cli.output import console
from fairlead.drill import Score, Verdict
from fairlead.testing.faults import FAULTS, Right

if TYPE_CHECKING:
    from rich.console import Console

    from fairlead.drill import Shape

_STYLES = {Verdict.RESCUED: "green", Verdict.CLEAN: "yellow", Verdict.FAILED: "bold red"}
_MARKS = {Verdict.RESCUED: "✓", Verdict.CLEAN: "!", Verdict.FAILED: "✗"}
_PLAIN_MARKS = {Verdict.RESCUED: "+", Verdict.CLEAN: "!", Verdict.FAILED: "X"}
_WORDS = {
    Verdict.RESCUED: "one complete, right answer",
    Verdict.CLEAN: "an explicit error, or the provider's own reason",
    Verdict.FAILED: "a silent end, a wrong answer, or none",
}
_MOST_NAMES = 6
_TOO_LATE = "504"
_ON_WHOLE_ANSWERS = (
    "An answer that is not streamed has no first token, so nothing but `total_s` ends the wait for a silent node. "
    "Another node gets its turn where a node's own `timeouts: {total_s: ...}` is below the common one."
)


def show(shape: "Shape", origin: str, scores: Sequence[Score]) -> None:
    """Print the scorecard, what the marks mean, and a summary."""
    out = console()
    paper = Paper(out)
    count = len(shape.nodes)
    limits = shape.config.timeouts
    out.print(Text.assemble(("Drill ", "bold"), f"of {origin}: {shape.model} on {_names(shape.nodes)}"))
    times = f"first token {limits.first_token_s:.2g} s, idle {limits.idle_s:.2g} s, total {limits.total_s:.2g} s"
    out.print(Text(f"Time runs faster here, and your limits with it: {times}.\n", style="dim"))
    for is_everyone, head in ((False, "One node misbehaves, the others are well"), (True, _head_of_all(count))):
        some = [score for score in scores if score.is_everyone is is_everyone]
        if some:
            out.print(Text(head, style="bold"))
            for part in table(paper, *_columns(some, paper)):
                out.print(part)
            out.print()
    _explain(out, paper)
    out.print(_summary(scores))
    for line in _advice(shape, scores):
        out.print(line)


def _head_of_all(count: int) -> str:
    return "All nodes misbehave" if count > 1 else "The only node misbehaves"


def _names(nodes: Sequence[str]) -> str:
    more = len(nodes) - _MOST_NAMES
    return ", ".join(nodes[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _columns(scores: Sequence[Score], paper: Paper) -> list[Column]:
    """Return the columns: a fault, and how its two ways went; what tells least goes first where it is narrow."""
    faults = {score.fault: score.does for score in scores}
    streamed = {score.fault: score for score in scores if score.is_streamed}
    whole = {score.fault: score for score in scores if not score.is_streamed}
    pairs = [(streamed.get(name), whole.get(name)) for name in faults]
    return [
        Column("a node...", list(faults.values())),
        Column("streamed", [_seen(one, paper) for one, _ in pairs]),
        Column("s", [_total(one) for one, _ in pairs], is_number=True),
        Column("asked", [_count(one) for one, _ in pairs], is_number=True),
        Column("whole", [_seen(one, paper) for _, one in pairs]),
        Column("s", [_total(one) for _, one in pairs], is_number=True),
        Column("first token", [_first(one) for one, _ in pairs], is_number=True, may_go=True),
        Column("--only", list(faults), may_go=True),
    ]


def _seen(score: Score | None, paper: Paper) -> Text:
    if score is None:
        return Text("")
    marks = _PLAIN_MARKS if paper.is_plain else _MARKS
    return Text(f"{marks[score.verdict]} {score.how}", style=_STYLES[score.verdict])


def _total(score: Score | None) -> str:
    return "" if score is None else f"{score.total_s:.2f}"


def _first(score: Score | None) -> str:
    return "" if score is None or score.first_s is None else f"{score.first_s:.2f}"


def _count(score: Score | None) -> str:
    return "" if score is None else str(score.attempts)


def _explain(out: "Console", paper: Paper) -> None:
    marks = _PLAIN_MARKS if paper.is_plain else _MARKS
    for verdict, word in _WORDS.items():
        out.print(Text.assemble((f"{marks[verdict]} {verdict.value:<12}", _STYLES[verdict]), (word, "dim")))


def _summary(scores: Sequence[Score]) -> Text:
    counts = Counter(score.verdict for score in scores)
    parts: list[str | tuple[str, str]] = [(f"\n{len(scores)} calls: ", "bold")]
    for at, verdict in enumerate(Verdict):
        text = f"{counts[verdict]} {verdict.value}{'s' * (verdict is Verdict.CLEAN and counts[verdict] != 1)}"
        parts += [", " * bool(at), (text, _STYLES[verdict] if counts[verdict] else "dim")]
    return Text.assemble(*parts, ".")


def _advice(shape: "Shape", scores: Sequence[Score]) -> list[Text]:
    """Say what a fleet of one node cannot survive, what a limit would change, and what failed."""
    lines = []
    if len(shape.nodes) == 1:
        lines.append(Text(_on_one_node(shape.model, scores)))
    if any(not one.is_everyone and not one.is_streamed and one.how == _TOO_LATE for one in scores):
        lines.append(Text(_ON_WHOLE_ANSWERS))
    failed = list(dict.fromkeys(score.fault for score in scores if score.verdict is Verdict.FAILED))
    if failed:
        again = " ".join(f"--only {name}" for name in failed)
        lines.append(Text(f"Failed; play it again with: fairlead drill {again}", style="red"))
    return lines


def _on_one_node(model: str, scores: Sequence[Score]) -> str:
    """Say how much ends in an error because nobody else can answer."""
    lost = {score.fault for score in scores if score.verdict is Verdict.CLEAN}
    mended = {
        score.fault
        for score in scores
        if score.verdict is Verdict.CLEAN
        and (way := FAULTS[score.fault].streamed if score.is_streamed else FAULTS[score.fault].whole)
        and way.helped is Right.RESCUED
    }
    count = len({score.fault for score in scores})
    return (
        f"With one node nobody can answer instead: {len(lost)} of {count} faults cannot be survived, see above. "
        f"A second node that serves {model} survives {len(mended)} of them."
    )
