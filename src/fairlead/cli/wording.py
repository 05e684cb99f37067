"""Plain data of a decision in words: numbers, shares, what was learnt and what people said."""

from collections.abc import Mapping, Sequence


def opinion(feedback: object) -> str:
    """Put feedback into words."""
    if not isinstance(feedback, Mapping) or "score" not in feedback:
        return flat(feedback)
    comment, learnt = feedback.get("comment"), feedback.get("learnt")
    said = number(feedback["score"], "g") + (f" {comment!r}" if comment else "")
    return f"{said}; {'; '.join(map(lesson, several(learnt)))}" if learnt else said


def lesson(learnt: object) -> str:
    """Put what was learnt into words: of which model, for what, and how what is expected moved; empty for nothing."""
    if isinstance(learnt, Mapping) and learnt.get("from") == "outcome":
        return _from_outcome(learnt)
    if not isinstance(learnt, Mapping) or "quality_after" not in learnt:
        return flat(learnt)
    known = {"model", "category", "quality_before", "quality_after"}
    before, after = number(learnt.get("quality_before"), ".3f"), number(learnt["quality_after"], ".3f")
    text = f"{learnt.get('model', '?')} for {learnt.get('category', '?')}: expected quality {before} -> {after}"
    more = {key: value for key, value in learnt.items() if key not in known}
    return f"{text}, {flat(more)}" if more else text


def _from_outcome(learnt: Mapping[str, object]) -> str:
    before, after = learnt.get("performance_before"), learnt.get("performance_after")
    if after is None:
        return ""
    start = "" if before is None else f"{number(before, '.2f')} -> "
    place = f"{learnt.get('model', '?')} on {learnt.get('node', '?')}"
    return f"from the outcome: performance of {place} {start}{number(after, '.2f')}"


def number(value: object, spec: str) -> str:
    """Format a number; ? stands for what is none."""
    return format(value, spec) if isinstance(value, int | float) else "?"


def percent(share: float) -> str:
    """Format a share; small ones with a digit more."""
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def count(amount: object, word: str) -> str:
    """Put a number before a word, in the plural where it needs one."""
    return f"{amount} {word}" + ("" if amount == 1 else "s")


def several(value: object) -> Sequence[object]:
    """Return a list as it is, one thing as a list of one, and nothing as an empty one."""
    return value if isinstance(value, list | tuple) else (() if not value else (value,))


def flat(value: object) -> str:
    """Put any plain data into one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {flat(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(flat, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def clean(text: str) -> str:
    """Return a text in one line, without what a terminal could take for an order."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
