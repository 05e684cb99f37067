"""A workflow: a pool of specialists whose skill is declared, so the first task goes to the right one.

Run it with `python examples/specialists.py`.
"""

from fairlead import NoCandidateError, TaskCategory, TaskRouter

SKILL = {
    "coder": {TaskCategory.CODING: 0.9, TaskCategory.REFACTORING: 0.85, TaskCategory.DEBUGGING: 0.6},
    "sleuth": {TaskCategory.DEBUGGING: 0.9, TaskCategory.TESTING: 0.8, TaskCategory.CODING: 0.6},
    "scribe": {TaskCategory.DOCUMENTATION: 0.95, TaskCategory.CODE_REVIEW: 0.8},
}
WORK = {
    "Implement a rate limiter": "coder",
    "Refactor the duplicated branches": "coder",
    "Debug the crash in the parser": "sleuth",
    "Write unit tests for the date parser": "sleuth",
    "Document the REST API in the README": "scribe",
    "Review this pull request": "scribe",
}


def main() -> None:
    """Send each kind of work to who is declared good at it, then let outcomes overrule a declaration."""
    router = TaskRouter("affinity")
    for model_id, skill in SKILL.items():
        tools = frozenset({"tools"}) if model_id == "coder" else frozenset[str]()
        router.register_model(model_id, skill=skill, capabilities=tools, slots=4)

    for prompt, specialist in WORK.items():
        with router.task(prompt) as task:
            print(f"{prompt:<40}{task.category:<16}{task.model_id}")
            assert task.model_id == specialist

    for _ in range(2):  # nobody else can use tools, so this leaves no choice
        assert router.route_task("Review this diff", needs=frozenset({"tools"})) == "coder"
    try:
        router.route_task("Describe this picture", needs=frozenset({"vision"}))
    except NoCandidateError as error:
        print(f"\n{error}")

    for _ in range(4):
        router.record_task_result("scribe", False, 2.0, TaskCategory.CODE_REVIEW)
    after = router.route_task("Review this pull request")
    assert after != "scribe"
    print(f"\nscribe's reviews failed four times; a declared skill counts as four outcomes. Next review: {after}.")


if __name__ == "__main__":
    main()
