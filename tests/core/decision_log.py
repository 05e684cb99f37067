"""Run as a program: drives every strategy through the same events and prints every decision."""

import sys

from core_shared import STRATEGIES, virtual_fleet

from fairlead.domain import Task, TaskCategory
from fairlead.errors import Fault
from fairlead.rng import key_of
from fairlead.testing import Behaviour, sometimes

KINDS = list(TaskCategory)


def main() -> None:
    for name in STRATEGIES:
        fleet = virtual_fleet(name, seed=11)
        fleet.add("steady", models=["m", "large"])
        fleet.add("flaky", Behaviour(fails=sometimes(0.3, Fault.TRANSPORT), jitter=0.5))
        fleet.add("slow", Behaviour(service_s=1.0, jitter=0.2), models=["m", "large"])
        fleet.fleet.name_group("any", ["large", "m"])
        for i in range(300):
            task_id, needs = f"task-{i}", frozenset({"tools", "json", f"x{i}"})
            names = {"m", "any", "auto", "nobody"}
            task = Task(task_id, key_of(task_id), KINDS[i % 7], sorted(names)[i % 4], needs, session=f"s{i % 9}")
            fleet.submit(i * 0.03, task)
        for record in fleet.run():
            told = (record.nodes, record.ended_s, record.succeeded, record.fault, record.error)
            sys.stdout.write(f"{name} {record.task.id} {told}\n")
        for event in fleet.fleet.outbox:
            sys.stdout.write(f"{name} {event}\n")


if __name__ == "__main__":
    main()
