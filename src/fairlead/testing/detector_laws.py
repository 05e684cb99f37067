"""Laws that any task category detector must keep; call `detector_laws(MyDetector)` from a test of your own."""

from collections.abc import Callable

from fairlead.categories.contract import Detector
from fairlead.domain import TaskCategory

MakeDetector = Callable[[], Detector]

PROMPTS = (
    "",
    " \n\t",
    "fix the crash in the parser",
    "Write unit tests for the login form",
    "x" * 200_000,
    "x = 1\n" * 20_000 + "review the code above",
    "def f():\n    return 1\n",
    "修复解析器中的崩溃",
    "\x00\ud800 broken \uffff text",
)
"""What callers send, and what they should not: empty, huge, foreign and broken texts."""


def law_category(make: MakeDetector) -> None:
    """Any text has a category: nothing is raised, nothing else is returned."""
    detector = make()
    for prompt in PROMPTS:
        found = detector.detect(prompt)
        if type(found) is not TaskCategory:
            raise AssertionError(f"detect({prompt[:40]!r}) gave {found!r}, which is no TaskCategory")


def law_steady(make: MakeDetector) -> None:
    """The same text has the same category, whatever was asked in between, and from another detector of the kind."""
    detector, other = make(), make()
    first = [detector.detect(prompt) for prompt in PROMPTS]
    again = [detector.detect(prompt) for prompt in reversed(PROMPTS)][::-1]
    elsewhere = [other.detect(prompt) for prompt in PROMPTS]
    if not first == again == elsewhere:
        raise AssertionError(f"the same prompts had other categories: {first}, then {again}, elsewhere {elsewhere}")


DETECTOR_LAWS: tuple[Callable[[MakeDetector], None], ...] = (law_category, law_steady)


def detector_laws(make: MakeDetector) -> None:
    """Hold detectors that `make` builds to every law. Raises AssertionError saying which is broken, and how."""
    for law in DETECTOR_LAWS:
        law(make)
