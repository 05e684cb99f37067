"""What is counted of trouble, how Prometheus reads it, and what the program's log says of it."""

import logging
from collections import Counter

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairlead.domain import Model, Node
from fairlead.domain.health import HealthReport, SystemHealth, Verdict
from fairlead.engine import events as e
from fairlead.engine.fleet import Fleet
from fairlead.routing import make_strategy
from fairlead.telemetry.metrics import MetricsCollector
from fairlead.telemetry.prometheus import exposition
from fairlead.telemetry.recorder import Recorder

OPENED = e.CircuitChanged(at_s=1.0, node="gpu-1", before="closed", after="open", cause="tripped")
CLOSED = e.CircuitChanged(at_s=1.0, node="gpu-1", before="half_open", after="closed", cause="recovered")
MOVED = e.FailedOver(at_s=1.0, task="t-1", node="gpu-1", fault="timeout", to_node="gpu-2", to_model="m")
RESCUED = e.Rescued(at_s=1.0, task="t-1", node="gpu-1", to_node="gpu-2", to_model="m", how="spliced", kept_bytes=10)
BROKEN = e.RescueFailed(at_s=1.0, task="t-2", node="gpu-1", why="a tool call had begun")
TROUBLES = (
    *(MOVED, MOVED, msgspec.structs.replace(MOVED, fault="connect"), RESCUED, BROKEN),
    *(e.HealthChanged(at_s=1.0, node="gpu-1", before="healthy", after=after, why="") for after in ("ejected", "down")),
    e.ConfigChanged(at_s=1.0),
    e.ConfigChanged(at_s=1.0, changes=("nodes: + gpu-3",)),
    e.ConfigChanged(at_s=1.0, refused="nodes[1].url: no address"),
)


def fleet() -> Fleet:
    fleet = Fleet(make_strategy("hybrid"))
    for name in ("gpu-1", "gpu-2"):
        fleet.add(Model("m"), Node(name), 0.0)
    return fleet


def samples(
    metrics: MetricsCollector, health: SystemHealth | None = None, step: int = 0
) -> dict[str, Counter[tuple[str, ...]]]:
    found: dict[str, Counter[tuple[str, ...]]] = {}
    text = exposition(metrics, fleet(), health=health, degradation_step=step).decode()
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, Counter())[labels] += sample.value  # type: ignore[assignment]  # floats too
    return found


def test_troubles_are_counted_under_labels_from_closed_lists() -> None:
    metrics = MetricsCollector()
    for event in TROUBLES:
        metrics.on_event(event)
    metrics.hedges[True] += 1
    found = samples(metrics)
    assert found["fairlead_failovers_total"] == {("timeout", "gpu-1"): 2, ("connect", "gpu-1"): 1}
    assert found["fairlead_rescues_total"] == {("spliced",): 1}
    assert found["fairlead_rescues_failed_total"] == {(): 1}
    assert found["fairlead_hedges_total"] == {("true",): 1, ("false",): 0}
    assert found["fairlead_ejections_total"] == {("gpu-1",): 1}
    assert found["fairlead_config_reloads_total"] == {("unchanged",): 1, ("applied",): 1, ("refused",): 1}
    told = metrics.told()
    assert told["failovers"] == [["gpu-1", "timeout", 2], ["gpu-1", "connect", 1]]
    assert (told["rescues"], told["rescues_failed"], told["hedges"]) == ({"spliced": 1}, 1, {"won": 1, "lost": 0})
    msgspec.json.encode(told)


def test_each_node_has_one_verdict_that_holds() -> None:
    nodes = {
        "gpu-1": HealthReport(node="gpu-1", verdict=Verdict.EJECTED),
        "gpu-2": HealthReport(node="gpu-2", verdict=Verdict.HEALTHY),
    }
    health = SystemHealth(at_s=1.0, nodes=nodes, capacity_share=0.5, utilization=0.25, pressure=0.75)
    found = samples(MetricsCollector(), health, 2)
    held = {labels for labels, value in found["fairlead_node_health"].items() if value}
    assert held == {("gpu-1", "ejected"), ("gpu-2", "healthy")}
    assert len(found["fairlead_node_health"]) == 2 * len(Verdict)
    assert found["fairlead_degradation_step"][()] == 2
    assert found["fairlead_pressure"][()] == 0.75
    assert "fairlead_node_health" not in samples(MetricsCollector())


def test_the_programs_log_tells_what_befell_nodes_and_no_storm_of_tasks(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    with caplog.at_level(logging.INFO, "fairlead"):
        for event in (OPENED, *[MOVED] * 100, RESCUED, BROKEN, CLOSED):
            recorder.on_event(event)
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "node gpu-1: circuit closed -> open (tripped)"),
        ("INFO", "node gpu-1: circuit half_open -> closed (recovered)"),
    ]
    assert len(recorder.events) == 104
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "fairlead"):
        recorder.on_event(MOVED)
    assert [one.levelname for one in caplog.records] == ["DEBUG"]
