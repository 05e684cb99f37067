"""A command-line agent as an instance: prompts go to a real program, one process for each.

Run it with `python examples/cli_agent.py`. A stand-in agent is used here; put the one that you have in its place.
"""

import sys
import tempfile
from pathlib import Path

from fairlead import CommandInstance, Instance, TaskRouter

AGENT = """
import sys
prompt = sys.stdin.read()
print(f"{sys.argv[1]} has read {len(prompt.split())} words: {prompt}")
sys.exit("crash" in prompt and sys.argv[1] == "novice")
"""


def main() -> None:
    """Give three prompts to agents, the way a person would use two terminals."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "agent.py"
        script.write_text(AGENT)
        router = TaskRouter("round_robin")
        for name in ("novice", "veteran"):
            instance = CommandInstance(name, folder, [sys.executable, str(script), name])
            assert isinstance(instance, Instance)
            router.register_model(name, instance, slots=1)

        for prompt in ("debug the crash", "write a function that sorts", "review this diff"):
            with router.task(prompt) as task:
                agent = router.model_pool.get_instance(task.model_id)
                assert isinstance(agent, CommandInstance)
                agent.send_prompt(prompt)
                print(agent.wait(timeout_s=30).strip())
                if agent.returncode != 0:
                    task.fail()
                is_new, is_waiting = agent.has_updated()
                assert is_new
                assert is_waiting

        for name, metrics in router.all_metrics().items():
            print(f"{name}: {metrics.successful_tasks} done, {metrics.failed_tasks} failed")
        assert router.model_metrics("novice").failed_tasks == 1
        assert router.model_metrics("veteran").successful_tasks == 1


if __name__ == "__main__":
    main()
