"""Models as a `models:` block that can be pasted into a configuration."""

import json
import re
from collections.abc import Sequence

import msgspec

from fairlead.config.known_models import AS_OF
from fairlead.domain import Model

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")
"""Text that YAML reads as it stands; `null`, `yes` and their like are no names of models."""
_WORDS_OF_YAML = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


class Entry(msgspec.Struct, frozen=True):
    """What to write of one model."""

    name: str
    model: Model | None = None
    """None where nothing is known."""
    note: str = ""
    """Why something is missing."""
    is_open: bool = False
    """Whether it is known as open weights, which run on a machine that may give them less context."""
    context_from_table: bool = True


def block(entries: Sequence[Entry]) -> str:
    """Return the block, with its last line's end."""
    head = f"# Prices in US dollars per million tokens, as of {AS_OF}; they change: check those that matter to you.\n"
    return head + ("models:\n" if entries else "models: []\n") + "".join(map(_entry, entries))


def _entry(entry: Entry) -> str:
    model = entry.model or Model(entry.name)
    lines = [
        f"  - name: {_text(entry.name)}" + (f"  # {_one_line(entry.note)}: fill in what you know" if entry.note else "")
    ]
    if model.context_tokens is not None:
        most = (
            "  # the most it can take; a server may give it less" if entry.is_open and entry.context_from_table else ""
        )
        lines.append(f"    context_tokens: {model.context_tokens}{most}")
    if model.capabilities is not None:
        lines.append(f"    capabilities: [{', '.join(map(_text, sorted(model.capabilities)))}]")
    if model.price is not None:
        paid, asked = model.price.input_usd_per_mtok, model.price.output_usd_per_mtok
        lines.append(f"    price: {{input_usd_per_mtok: {paid!r}, output_usd_per_mtok: {asked!r}}}")
    elif entry.is_open:
        lines.append("    # price: open weights; what a token costs is what the machine costs")
    if model.skill:
        skills = ", ".join(f"{category}: {skill!r}" for category, skill in model.skill.items())
        lines.append(f"    skill: {{{skills}}}")
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    return json.dumps(text.replace("${", "$${"), ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join(text.split())
