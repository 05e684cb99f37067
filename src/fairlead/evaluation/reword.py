"""The same request in other words, by rule: a decision that flips on these hangs on how a prompt looks."""

import re
from collections.abc import Callable, Mapping

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_GAP = re.compile(r"[ \t]+")


def _case(prompt: str) -> str:
    return prompt.lower() if prompt != prompt.lower() else prompt.capitalize()


def _whitespace(prompt: str) -> str:
    return "\n" + _GAP.sub("  ", prompt).rstrip() + "\n\n"


def _politeness(prompt: str) -> str:
    return f"Hello, could you please help me? {prompt}\nThank you!"


def _order(prompt: str) -> str:
    sentences = _SENTENCE.split(prompt.strip())
    return " ".join([*sentences[1:], sentences[0]])


RULES: Mapping[str, Callable[[str], str]] = {
    "case": _case,
    "whitespace": _whitespace,
    "politeness": _politeness,
    "order": _order,
}
"""Small letters only; gaps doubled and empty lines round it; a greeting and thanks; the first sentence moved last."""
