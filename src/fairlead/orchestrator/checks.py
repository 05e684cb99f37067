"""What an answer must pass before a cascade takes it: pure functions of its text, each giving a reason or None.

The checks use only what is known when the answer is there: never a label, never another model. They look at the first
answer of a reply, without the thoughts before it.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fairlead.dialects.answer_text import AnswerText
from fairlead.dialects.common import BAD_JSON, decode_any
from fairlead.dialects.json_schema import schema_problem, value_problem
from fairlead.errors import ConfigError, FairleadError
from fairlead.orchestrator.refusals import refusal_in, spoken

ENTRY_POINTS = "fairlead.checks"
"""Each entry point names a function (prompt, answer) -> bool | str | None."""

MAX_LETTERS = 256 * 1024
"""Of the text of an answer that is checked: requests of others wait meanwhile."""

Check = Callable[[str, AnswerText], str | None]
"""(prompt, answer) -> why the answer fails, or None."""
Plugin = Callable[[str, str], object]
"""(prompt, text of the answer) -> False or a reason where it fails, True or None where it passes."""


class Quoted(str):
    """A reason in a plugin's own words, which may quote the prompt or the answer; those of other checks never do."""

    __slots__ = ()


logger = logging.getLogger("fairlead")


class CheckSettings(Protocol):
    """What is asked of an answer, such as a `CheckConfig`."""

    @property
    def refusal(self) -> bool:
        """Whether it must say something, and not refuse."""
        ...

    @property
    def json(self) -> bool:
        """Whether it must be JSON."""
        ...

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """What its JSON must be like."""
        ...

    @property
    def min_mean_logprob(self) -> float | None:
        """How likely its tokens must be on average."""
        ...

    @property
    def plugin(self) -> str | None:
        """Whose opinion is asked."""
        ...


def checks_of(settings: CheckSettings, plugins: Mapping[str, Plugin]) -> tuple[Check, ...]:
    """Return the checks that are asked for, the cheap ones first. Raises FairleadError for one that cannot be had."""
    checks: list[Check] = []
    if settings.refusal:
        checks.append(check_refusal)
    if settings.min_mean_logprob is not None:
        checks.append(logprob_check(settings.min_mean_logprob))
    if settings.json_schema is not None:
        checks.append(schema_check(settings.json_schema))
    elif settings.json:
        checks.append(check_json)
    if settings.plugin is not None:
        plugin = plugins.get(settings.plugin) or plugin_named(settings.plugin)
        checks.append(plugin_check(settings.plugin, plugin))
    return tuple(checks)


def check_refusal(prompt: str, answer: AnswerText) -> str | None:
    """Fail an empty answer, and one whose opening declines or, in a short answer, gives up. English only."""
    del prompt
    if answer.refused:
        return "the model refuses"
    if answer.tool_calls:
        return None
    text = spoken(answer.text)
    return refusal_in(text) if text else "the answer is empty"


def check_json(prompt: str, answer: AnswerText) -> str | None:
    """Fail an answer that is no JSON; of one that calls tools, fail arguments that are none."""
    del prompt
    for call in answer.tool_calls:
        if _parsed(call.arguments or "{}") is _BAD:
            return "the arguments of a tool call are no JSON"
    return None if answer.tool_calls or json_in(answer.text) is not _BAD else "the answer is no JSON"


def schema_check(schema: Mapping[str, Any]) -> Check:
    """Return a check against a JSON schema. Raises ConfigError for a schema that is not understood in full."""
    wrong = schema_problem(schema)
    if wrong is not None:
        raise ConfigError(f"json_schema: {wrong}")

    def check(prompt: str, answer: AnswerText) -> str | None:
        if answer.tool_calls:
            return check_json(prompt, answer)
        value = json_in(answer.text)
        if value is _BAD:
            return "the answer is no JSON"
        problem = value_problem(schema, value)
        return None if problem is None else f"the answer does not fit the schema: {problem}"[:300]

    return check


def logprob_check(least: float) -> Check:
    """Return a check of the mean log-probability of the answer's tokens; passes what the node tells nothing of."""

    def check(prompt: str, answer: AnswerText) -> str | None:
        del prompt
        if not answer.logprobs:
            return None
        mean = sum(answer.logprobs) / len(answer.logprobs)
        return None if mean >= least else f"the mean log-probability is {mean:.3f}, below {least:g}"

    return check


def plugin_check(name: str, plugin: Plugin) -> Check:
    """Return a check by a function of the user's. One that raises has passed, and is logged once."""
    is_told = False

    def check(prompt: str, answer: AnswerText) -> str | None:
        nonlocal is_told
        try:
            said = plugin(prompt, spoken(answer.text))
            if said is None or said is True:
                return None
            if said is False:
                return f"{name} says no"
            if isinstance(said, str):
                return Quoted(said[:300]) if said else None
            problem = f"gave {type(said).__name__}, not bool, str or None"
        except Exception as error:  # noqa: BLE001  # somebody else's code must not break a request
            problem = f"raised {error!r}"
        if not is_told:
            is_told = True
            logger.error("check %s %s: what it cannot judge passes from now on", name, problem)
        return None

    return check


def plugin_named(name: str) -> Plugin:
    """Return the function registered under `fairlead.checks`. Raises FairleadError naming those there are."""
    from importlib.metadata import entry_points  # slow to import, and most cascades do without

    entries = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in entries:
        known = ", ".join(sorted(entries)) or f"none; a package registers its own under {ENTRY_POINTS}"
        raise FairleadError(f"unknown check {name!r}; there are: {known}")
    plugin: Plugin = entries[name].load()
    if not callable(plugin):
        raise FairleadError(f"{name!r} of {ENTRY_POINTS} is no function")
    return plugin


def first_failure(checks: tuple[Check, ...], prompt: str, answer: AnswerText) -> str | None:
    """Return why an answer fails, or None where it passes all checks, or is too long to be checked in passing."""
    if len(answer.text) > MAX_LETTERS:
        return None
    for check in checks:
        reason = check(prompt, answer)
        if reason is not None:
            return reason
    return None


_BAD: Any = object()
"""What is no JSON."""


def json_in(text: str) -> Any:
    """Return the JSON value that an answer is, or that stands in its only fenced block; a mark of its own if none."""
    text = spoken(text)
    value = _parsed(text)
    if value is _BAD:
        parts = text.split("```")
        if len(parts) == 3:
            value = _parsed(parts[1].partition("\n")[2])  # the first line names the language
    return value


def _parsed(text: str) -> Any:
    try:
        return decode_any(text.strip())
    except BAD_JSON:
        return _BAD
