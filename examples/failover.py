"""A workflow: when the first choice fails, the same task goes on to a backup, and the first is left alone.

Run it with `python examples/failover.py`. (The gateway does this by itself; this is how a program does it.)
"""

from fairlead import CircuitBreakerConfig, NoCandidateError, TaskRouter
from fairlead.testing import ManualClock


class Model:
    """Stands for a model that can be switched off."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_up = True

    def send_prompt(self, prompt: str) -> None:
        """Take a prompt, or fail."""
        if not self.is_up:
            raise ConnectionError(f"{self.name} does not answer {prompt!r}")

    def has_updated(self) -> tuple[bool, bool]:
        """Nothing is streamed here."""
        return False, True


def ask(router: TaskRouter, prompt: str, attempts: int = 3) -> str:
    """Try until a model takes the prompt; every failure counts against the one that failed."""
    for _ in range(attempts):
        try:
            with router.task(prompt) as task:
                if task.instance is not None:
                    task.instance.send_prompt(prompt)
                return task.model_id
        except ConnectionError as error:
            print(f"  {error}")
    raise NoCandidateError(f"no model took {prompt!r}")


def main() -> None:
    """Switch the primary off and on again."""
    clock = ManualClock()
    breaker = CircuitBreakerConfig(failure_threshold=2, timeout_s=30)  # below the attempts, so no task is lost
    router = TaskRouter("least_loaded", circuit_breaker=breaker, clock=clock)
    primary, backup = Model("primary"), Model("backup")
    router.register_model("primary", primary, weight=10)  # preferred as long as it is well
    router.register_model("backup", backup)
    assert ask(router, "task 0") == "primary"

    primary.is_up = False
    answered = [ask(router, f"task {number}") for number in range(1, 21)]
    print(f"answered by: {', '.join(sorted(set(answered)))}; health: {router.health_check()}")
    assert set(answered) == {"backup"}
    assert router.circuit_breaker_open("primary")
    assert router.model_metrics("primary").failed_tasks == 2  # no more than it takes to open its circuit

    primary.is_up = True
    clock.advance(31)
    later = [ask(router, f"task {number}") for number in range(21, 101)]
    print(f"after its recovery: {later.count('primary')} of 80 by primary; health: {router.health_check()}")
    assert later[-1] == "primary"


if __name__ == "__main__":
    main()
