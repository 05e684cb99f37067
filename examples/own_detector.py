"""An own detector: any object with `detect(prompt)` says what kind of work a prompt is.

Run it with `python examples/own_detector.py`. To offer a detector to others by name, put into pyproject.toml:

    [project.entry-points."fairlead.detectors"]
    tickets = "my_package:TicketDetector"
"""

import re

from fairlead import TaskCategory, TaskRouter
from fairlead.categories import RuleDetector
from fairlead.testing import detector_laws

LABELS = {"bug": TaskCategory.DEBUGGING, "docs": TaskCategory.DOCUMENTATION, "qa": TaskCategory.TESTING}


class TicketDetector:
    """Trusts the label in front of a ticket, such as `[bug]`, and the built-in rules where there is none."""

    def __init__(self) -> None:
        self._rules = RuleDetector()

    def detect(self, prompt: str) -> TaskCategory:
        """Return the category that the label stands for."""
        label = re.match(r"\[(\w{1,20})\]", prompt)
        known = LABELS.get(label[1].lower()) if label else None
        return known or self._rules.detect(prompt)


def main() -> None:
    """Hold the detector to the laws for detectors, then let it decide."""
    detector_laws(TicketDetector)
    router = TaskRouter(detector=TicketDetector())

    expected = {
        "[qa] the report for March is empty": TaskCategory.TESTING,
        "[docs] what does --dry-run do": TaskCategory.DOCUMENTATION,
        "Refactor the duplicated branches": TaskCategory.REFACTORING,
    }
    for prompt, category in expected.items():
        found = router.task_category(prompt)
        print(f"{prompt:<40}{found}")
        assert found is category

    router.set_task_category_detector(RuleDetector())
    alone = router.task_category("[qa] the report for March is empty")
    print(f"\nOf the first the built-in rules alone say: {alone}.")
    assert alone is not TaskCategory.TESTING


if __name__ == "__main__":
    main()
