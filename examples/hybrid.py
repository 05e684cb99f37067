"""Hybrid, the default: what is known overall counts first, and a category's own record as it grows.

Run it with `python examples/hybrid.py`.
"""

from typing import Any

from fairlead import TaskCategory, TaskRouter

PROMPT = "Debug the crash in the parser"


def show(router: TaskRouter, title: str) -> str:
    """Print how the models stand for one prompt, and return the one with the highest score."""
    decision: dict[str, Any] = router.explain(PROMPT)
    print(title)
    for one in decision["candidates"]:
        factors = ", ".join(
            f"{name} {factor['value']:.2f}{'' if factor['known'] else ' (not known)'}"
            for name, factor in one["factors"].items()
        )
        print(f"  {one['model']:<12}score {one['score']:.2f}   {factors}")
    best: str = decision["candidates"][0]["model"]
    return best


def main() -> None:
    """See a generalist lead until a specialist has shown what it can do."""
    router = TaskRouter(exploration=0.0)  # nothing by chance, so that the figures can be followed
    for model_id in ("generalist", "specialist"):
        router.register_model(model_id)
    show(router, "nothing is known, so everything counts as 0.50:")

    for number in range(20):
        router.record_task_result("generalist", number % 10 != 0, 1.0, TaskCategory.CODING)
        router.record_task_result("specialist", number % 10 > 2, 1.0, TaskCategory.CODING)
    assert show(router, "\nafter 20 coding tasks each, of which the specialist failed more:") == "generalist"

    for number in range(20):
        router.record_task_result("generalist", number % 2 == 0, 1.0, TaskCategory.DEBUGGING)
        router.record_task_result("specialist", True, 1.0, TaskCategory.DEBUGGING)
    assert show(router, "\nafter 20 debugging tasks each:") == "specialist"
    assert router.route_task(PROMPT) == "specialist"
    print("\nDebugging goes to the specialist now.")


if __name__ == "__main__":
    main()
