"""The record of a decision, for people: who was compared, by what, who was ruled out, and what was learnt."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from fairlead.cli.journey import journey, next_node
from fairlead.cli.output import print_table
from fairlead.cli.wording import clean, count, flat, lesson, number, opinion, percent, several
from fairlead.domain.priority import LAST_LEVEL, NORMAL, class_of

_SHOWN = 8
_PROMPT_LETTERS = 300
_ASSUMED = "? nothing is known yet, which counts as the value shown"

Plain = Mapping[str, Any]


def show(record: Plain, *, full: bool = False) -> None:
    """Print a record as `GET /v1/decisions/{id}` gives it; parts that it does not have are left out."""
    decision: Plain = record.get("decision") or {}
    for head, text in (
        *_outcome(record),
        *_cascade(record),
        *journey(record),
        *_choice(decision, record.get("error")),
    ):
        _fact(head, text)
    tables(decision, full=full)
    _failures(record)
    _afterwards(record)


def tables(decision: Plain, *, full: bool) -> None:
    """Print the models that were ranked, the candidates that were compared, and who was ruled out."""
    assumed = _models(decision, full=full)
    assumed |= _nodes(decision, full=full)
    if assumed:
        click.echo(f"\n{_ASSUMED}")
    _rejections(decision, full=full)


# -- facts


def _outcome(record: Plain) -> Iterator[tuple[str, str]]:
    at_s = record.get("at")
    at = f", {datetime.fromtimestamp(at_s, tz=UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(at_s, int | float) else ""
    yield "decision", f"{record.get('id', '?')}{at}"
    if record.get("prompt"):
        yield "prompt", str(record["prompt"])[:_PROMPT_LETTERS]
    parts = [str(record.get("outcome", "?")) + (f" ({record['status']})" if record.get("status") else "")]
    if record.get("attempts") is not None:
        parts.append(count(record["attempts"], "attempt"))
    level = record.get("priority")
    if isinstance(level, int) and 0 <= level <= LAST_LEVEL and level != NORMAL:
        parts.append(f"{class_of(level).value} (priority {level})")
    if record.get("queued_ms"):
        parts.append(f"waited {record['queued_ms']:.0f} ms for room")
    for key, words in (("latency_ms", "{:.0f} ms"), ("first_token_ms", "first token after {:.0f} ms")):
        if record.get(key) is not None:
            parts.append(words.format(record[key]))
    usage = record.get("usage")
    if usage:
        parts.append(f"{usage.get('input_tokens', '?')} tokens read, {usage.get('output_tokens', '?')} written")
    yield "outcome", ", ".join(parts)


def _cascade(record: Plain) -> Iterator[tuple[str, str]]:
    told = record.get("cascade")
    if not isinstance(told, Mapping):
        return
    reason = told.get("not_taken_because")
    is_taken = reason is None and record.get("outcome") == "success"
    became = f": not taken, {reason}" if reason else ": taken" if is_taken else ""
    yield "cascade", f"{told.get('step', '?')}{became}"


def _choice(decision: Plain, error: object = None) -> Iterator[tuple[str, str]]:
    if not decision:
        yield "chosen", f"nobody: {error or 'every candidate was ruled out or busy'}"
        return
    yield "asked for", f"{decision.get('asked_for', '?')}, for {decision.get('category', '?')}"
    chosen = decision.get("chosen") or {}
    by = f" by {decision['strategy']}" if decision.get("strategy") else ""
    yield "chosen", f"{chosen.get('model', '?')} on {chosen.get('node', '?')}{by}"
    for key, head in (("models_why", "its model"), ("why", "because")):
        if decision.get(key):
            yield head, str(decision[key])
    yield from _reserved(decision)
    yield from _margin(decision)
    yield from _exploration(decision)
    for anomaly in decision.get("anomalies") or ():
        yield "anomaly", flat(anomaly)


def _reserved(decision: Plain) -> Iterator[tuple[str, str]]:
    """Tell which tokens were leased; a slot alone goes without saying."""
    held = decision.get("leased")
    if not isinstance(held, Mapping) or not (held.get("input_tokens") or held.get("output_tokens")):
        return
    yield "reserved", f"{held.get('input_tokens', 0)} tokens for the prompt, {held.get('output_tokens', 0)} to write"


def _margin(decision: Plain) -> Iterator[tuple[str, str]]:
    margin, runner_up = decision.get("margin"), decision.get("runner_up")
    if runner_up is None and margin is None:
        return
    name = runner_up if isinstance(runner_up, str) else flat(runner_up or "nobody")
    yield "runner-up", name if margin is None else f"{name}, behind by {margin:.3f}"


def _exploration(decision: Plain) -> Iterator[tuple[str, str]]:
    propensity, explored = decision.get("propensity"), decision.get("explored")
    if propensity is None and explored is None:
        return
    what = "yes, to learn about it" if explored else "no"
    yield "explored", what if propensity is None else f"{what}; the chance of this choice was {percent(propensity)}"


def _fact(head: str, text: str) -> None:
    click.echo(f"{head:<11}{clean(text)}")


# -- tables


def _models(decision: Plain, *, full: bool) -> bool:
    """Print the models that were ranked; tells whether any factor was assumed."""
    models: Sequence[Plain] = decision.get("models") or ()
    if not models:
        return False
    chosen = (decision.get("chosen") or {}).get("model")
    names = list(dict.fromkeys(name for model in models for name in model.get("factors", {})))
    weights = {name: next(m["factors"][name] for m in models if name in m.get("factors", {})) for name in names}
    heads = [
        "",
        "model",
        "score",
        "quality\nsure" if full else "sure",
        "cost",
        "latency",
        *(_head(name, weights[name]) for name in names),
    ]
    shown = models if full else models[:_SHOWN]
    rows = [_model_row(model, names, is_chosen=model.get("model") == chosen, full=full) for model in shown]
    click.echo()
    print_table(heads, rows, numbers=heads[2:])
    _and_more(len(models) - len(shown), full=full)
    return any("?" in cell for row in rows for cell in row[6:])


def _head(name: str, factor: Plain) -> str:
    weight = factor.get("weight")
    return name.replace("_", "\n") + (f"\nx {weight:.2f}" if weight is not None else "")


def _model_row(model: Plain, names: Sequence[str], *, is_chosen: bool, full: bool) -> tuple[str, ...]:
    factors = model.get("factors", {})
    cost, latency = model.get("cost_usd"), model.get("latency_s")
    return (
        ">" if is_chosen else "",
        str(model.get("model", "?")),
        number(model.get("score"), ".3f"),
        _quality(model, full=full),
        "" if cost is None else f"${cost:.2g}" if 0 < cost < 0.01 else f"${cost:.3f}",
        "" if latency is None else f"{latency:.2f} s",
        *(_factor(factors[name], full=full) if name in factors else "" for name in names),
    )


def _quality(model: Plain, *, full: bool) -> str:
    """Tell how sure the expected quality is, and with `full` that quality itself."""
    quality, confidence = model.get("quality"), model.get("confidence")
    sure = "" if confidence is None else percent(confidence)
    return f"{quality:.3f}\n{sure}" if full and quality is not None else sure


def _nodes(decision: Plain, *, full: bool) -> bool:
    """Print the candidates among which the strategy picked; tells whether any factor was assumed."""
    candidates: Sequence[Plain] = decision.get("candidates") or ()
    if not candidates:
        return False
    chosen = decision.get("chosen") or {}
    rows = []
    for one in candidates if full else candidates[:_SHOWN]:
        is_chosen = (one.get("model"), one.get("node")) == (chosen.get("model"), chosen.get("node"))
        factors = ", ".join(f"{name} {_factor(factor)}" for name, factor in one.get("factors", {}).items())
        place = (str(one.get("model", "?")), str(one.get("node", "?")), number(one.get("score"), ".3f"))
        rows.append((">" if is_chosen else "", *place, factors))
    click.echo()
    print_table(("", "candidate", "node", "score", "factors"), rows, numbers=("score",))
    _and_more(max(decision.get("candidates_compared", 0), len(candidates)) - len(rows), full=full)
    return any("?" in row[-1] for row in rows)


def _rejections(decision: Plain, *, full: bool) -> None:
    rejected: Sequence[Plain] = decision.get("rejected") or ()
    if not rejected:
        return
    shown = rejected if full else rejected[:_SHOWN]
    click.echo()
    rows = [(str(one.get("model", "?")), str(one.get("node", "")), _why(one)) for one in shown]
    print_table(("ruled out", "node", "why"), rows)
    _and_more(max(sum((decision.get("rejected_by_reason") or {}).values()), len(rejected)) - len(shown), full=full)


def _why(rejection: Plain) -> str:
    reason, detail = rejection.get("reason", "?"), rejection.get("detail")
    return f"{reason}: {detail}" if detail else str(reason)


def _failures(record: Plain) -> None:
    failures: Sequence[Plain] = record.get("failures") or ()
    if failures:
        click.echo()
        rows = [_failure(record, place, one) for place, one in enumerate(failures)]
        print_table(("attempt", "failed on", "fault", "then", "what it said"), rows, numbers=("attempt",))


def _failure(record: Plain, place: int, failure: Plain) -> tuple[str, ...]:
    attempt, node, fault, message = (str(failure.get(key, "?")) for key in ("attempt", "node", "fault", "message"))
    return attempt, node, fault, next_node(record, place), message


def _and_more(left: int, *, full: bool) -> None:
    if left > 0:
        click.echo(f"   and {left} more" + (", of which only the number is kept" if full else ": --full shows them"))


# -- what came of it


def _afterwards(record: Plain) -> None:
    learnt = [text for one in several(record.get("learnt")) if (text := lesson(one))]
    said = [opinion(one) for one in several(record.get("feedback"))]
    if learnt or said:
        click.echo()
    for text in learnt:
        _fact("learnt", text)
    for text in said:
        _fact("feedback", text)


def _factor(factor: Plain, *, full: bool = False) -> str:
    value, weight = factor.get("value"), factor.get("weight")
    text = number(value, ".2f") + ("" if factor.get("known", True) else "?")
    if full and isinstance(value, int | float) and isinstance(weight, int | float):
        text += f"\n+ {value * weight:.3f}"
    return text
