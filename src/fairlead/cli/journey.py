"""Where a task went after a node let it down: what failed in order, who was asked next, and who took over."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairlead.cli.wording import number
from fairlead.telemetry.event_words import kept_text

_RESCUES = {"continued": "continued it", "spliced": "joined its own to it", "restarted": "began anew"}

Plain = Mapping[str, Any]


def journey(record: Plain) -> Iterator[tuple[str, str]]:
    """Tell in a line each what failed, what was rescued and whether a second node was asked; nothing where none was."""
    failures: Sequence[Plain] = record.get("failures") or ()
    if failures:
        ways = [f"{one.get('node') or 'nobody'} ({one.get('fault', '?')})" for one in failures]
        last = next_node(record, len(failures) - 1)
        became = f", then {last} " + ("answered" if record.get("outcome") == "success" else "was asked")
        yield "failed", ", then ".join(ways) + (became if last else ", and that was the end")
    hedge = record.get("hedge")
    if isinstance(hedge, Mapping):
        silent = f"{hedge.get('node', '?')} was silent for {number(hedge.get('after_s'), '.2f')} s"
        won = "answered first" if hedge.get("won") else "was later than it"
        yield "hedge", f"{silent}; {hedge.get('to_node', '?')} was asked too and {won}"
    for rescue in record.get("rescues") or ():
        done = _RESCUES.get(rescue.get("how", ""), "finished it")
        where = f"{rescue.get('to_node', '?')} ({rescue.get('to_model', '?')})"
        kept = kept_text(rescue.get("kept_bytes") or 0)
        yield "rescue", f"the answer broke on {rescue.get('node', '?')} after {kept}; {where} {done}"


def next_node(record: Plain, place: int) -> str:
    """Return who was asked after the failure in that place; empty where nobody was."""
    failures: Sequence[Plain] = record.get("failures") or ()
    if place + 1 < len(failures):
        return str(failures[place + 1].get("node") or "")
    if record.get("outcome") != "success" and record.get("attempts", 0) <= len(failures):
        return ""
    chosen = (record.get("decision") or {}).get("chosen") or {}
    return str(chosen.get("node") or "")
