"""The log of events: what it keeps in a storm, how it is read page by page, and what people read of each event."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engine import events as e
from fairlead.telemetry.event_log import EventLog, Wanted, told
from fairlead.telemetry.event_words import KINDS, WORDS, Severity, kept_text

WALL_S = 1_700_000_000.0

EVENTS: dict[str, tuple[e.Event, str, str]] = {
    "circuit_changed": (
        e.CircuitChanged(at_s=1.0, node="gpu-1", before="closed", after="open", cause="tripped"),
        "bad",
        "node gpu-1: circuit closed -> open (tripped)",
    ),
    "health_changed": (
        e.HealthChanged(at_s=1.0, node="gpu-1", before="healthy", after="degraded", why="8 % of 50 outcomes failed"),
        "warning",
        "node gpu-1: healthy -> degraded (8 % of 50 outcomes failed)",
    ),
    "node_draining": (
        e.NodeDraining(at_s=1.0, node="gpu-1", is_draining=True), "info", "node gpu-1 drains: no further tasks"
    ),
    "degradation_changed": (
        e.DegradationChanged(at_s=1.0, before="nothing", after="hedging", why="pressure 0.61"),
        "warning",
        "given up under pressure: nothing -> hedging (pressure 0.61)",
    ),
    "recovered": (
        e.Recovered(at_s=1.0, remedy="fail_over", subject="gpu-1", why="its circuit opened"),
        "info",
        "recovery: fail over gpu-1 (its circuit opened)",
    ),
    "config_changed": (
        e.ConfigChanged(at_s=1.0, refused="nodes[1].url: no address"),
        "warning",
        "configuration refused, the last good one stays: nodes[1].url: no address",
    ),
    "strategy_changed": (
        e.StrategyChanged(at_s=1.0, before="hybrid", after="random"), "info", "strategy: hybrid -> random"
    ),
    "load_stage_changed": (
        e.LoadStageChanged(at_s=1.0, before="calm", after="spike", why="240 a second"),
        "info",
        "arrivals: calm -> spike (240 a second)",
    ),
    "pair_blocked": (
        e.PairBlocked(at_s=1.0, model="m", node="gpu-1", fault="denied", until_s=61.0),
        "warning",
        "node gpu-1 refuses model m (denied): not asked for it for a while",
    ),
    "leases_expired": (
        e.LeasesExpired(at_s=1.0, node="gpu-1", count=2),
        "warning",
        "node gpu-1: 2 leases taken back, the owners had vanished",
    ),
    "fleet_changed": (
        e.FleetChanged(at_s=1.0, model="m", node="gpu-1", joined=False), "info", "node gpu-1 no longer serves model m"
    ),
    "node_cooling": (
        e.NodeCooling(at_s=1.0, node="gpu-1", until_s=3.5), "info", "node gpu-1 asks to be left alone for 2.5 s"
    ),
    "failed_over": (
        e.FailedOver(at_s=1.0, task="ab-12", node="gpu-1", fault="timeout", to_node="gpu-2", to_model="m"),
        "warning",
        "task ab-12: node gpu-1 failed it (timeout), sent to gpu-2",
    ),
    "rescued": (
        e.Rescued(
            at_s=1.0, task="ab-13", node="gpu-1", to_node="gpu-2", to_model="m", how="continued", kept_bytes=2100
        ),
        "warning",
        "task ab-13: answer broke on gpu-1 after 2.1 KB, gpu-2 continued it",
    ),
    "rescue_failed": (
        e.RescueFailed(at_s=1.0, task="ab-14", node="gpu-1", why="a tool call had begun"),
        "bad",
        "task ab-14: answer broke on gpu-1 and nobody could finish it (a tool call had begun)",
    ),
    "hedged": (
        e.Hedged(at_s=1.0, task="ab-15", node="gpu-1", to_node="gpu-2", after_s=0.4),
        "info",
        "task ab-15: node gpu-1 silent for 0.40 s, asked gpu-2 too",
    ),
}  # fmt: skip


def opened(number: int = 1) -> e.Event:
    return e.CircuitChanged(at_s=float(number), node=f"gpu-{number}", before="closed", after="open", cause="tripped")


def moved(number: int = 1) -> e.Event:
    return e.FailedOver(
        at_s=float(number), task=f"t-{number}", node="gpu-1", fault="connect", to_node="gpu-2", to_model="m"
    )


def numbers(page: dict[str, Any]) -> list[int]:
    return [one["number"] for one in page["events"]]


class TestWords:
    def test_every_type_of_event_has_a_line_of_its_own(self) -> None:
        ours = {one for one in e.Event.__subclasses__() if one.__module__ == e.__name__}
        assert ours == set(WORDS)
        assert len(set(KINDS)) == len(KINDS)
        assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", kind) for kind in KINDS)
        assert set(KINDS) == set(EVENTS)

    @pytest.mark.parametrize("kind", EVENTS)
    def test_what_a_person_reads(self, kind: str) -> None:
        event, severity, sentence = EVENTS[kind]
        seen = told(7, WALL_S, event)
        assert (seen["kind"], seen["severity"], seen["text"]) == (kind, severity, sentence)

    def test_the_plain_form_is_stable(self) -> None:
        assert told(7, WALL_S + 0.12345, EVENTS["failed_over"][0]) == {
            "number": 7,
            "at": 1_700_000_000.123,
            "kind": "failed_over",
            "severity": "warning",
            "node": "gpu-1",
            "task": "ab-12",
            "text": "task ab-12: node gpu-1 failed it (timeout), sent to gpu-2",
            "detail": {"task": "ab-12", "node": "gpu-1", "fault": "timeout", "to_node": "gpu-2", "to_model": "m"},
        }
        assert told(8, WALL_S, EVENTS["node_cooling"][0])["detail"] == {"node": "gpu-1", "for_s": 2.5}
        changed = e.ConfigChanged(at_s=1.0, changes=("nodes: + gpu-3",))
        assert told(9, WALL_S, changed)["detail"] == {"changes": ["nodes: + gpu-3"], "refused": ""}

    def test_what_is_well_again_is_told_so(self) -> None:
        good = (
            e.CircuitChanged(at_s=1.0, node="a", before="half_open", after="closed", cause="recovered"),
            e.HealthChanged(at_s=1.0, node="a", before="down", after="healthy", why=""),
            e.DegradationChanged(at_s=1.0, before="hedging", after="nothing", why=""),
            e.Recovered(at_s=1.0, remedy="restore", subject="a", why=""),
        )
        assert {WORDS[type(one)].weigh(one) for one in good} == {Severity.GOOD}

    @given(st.sampled_from(sorted(EVENTS)), st.text(min_size=2_000, max_size=2_000))
    def test_texts_from_elsewhere_are_cut(self, kind: str, text: str) -> None:
        event = EVENTS[kind][0]
        elsewhere = {"why": text, "refused": text, "changes": (text,) * 99}
        names = elsewhere.keys() & set(event.__struct_fields__)
        seen = told(1, WALL_S, msgspec.structs.replace(event, **{name: elsewhere[name] for name in names}))
        assert len(seen["text"]) < 500
        assert all(len(one) <= 300 for one in seen["detail"].values() if isinstance(one, str))
        assert len(seen["detail"].get("changes", ())) <= 50

    @pytest.mark.parametrize(("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (2100, "2.1 KB")])
    def test_sizes(self, size: int, text: str) -> None:
        assert kept_text(size) == text


class TestLog:
    def test_a_storm_about_tasks_never_pushes_out_what_is_rare(self) -> None:
        log = EventLog(WALL_S, 2000)
        log.add(opened(1), WALL_S)
        for number in range(100_000):
            log.add(moved(number), WALL_S)
            if number == 50_000:
                log.add(opened(2), WALL_S)
        assert len(log) == 1002
        page = log.read(Wanted(after=0, limit=2000))
        found = [(one["number"], one["node"]) for one in page["events"] if one["kind"] == "circuit_changed"]
        assert found == [(1, "gpu-1"), (50_003, "gpu-2")]
        assert numbers(page) == sorted(numbers(page))
        assert numbers(page)[-1] == page["next"] == 100_002

    def test_a_storm_of_rare_events_is_bounded_too_and_keeps_the_newest(self) -> None:
        log = EventLog(WALL_S, 10)
        for number in range(1, 1001):
            log.add(opened(number), WALL_S)
        assert numbers(log.read()) == [996, 997, 998, 999, 1000]

    @given(st.lists(st.booleans(), max_size=40), st.integers(1, 7))
    def test_pages_of_any_size_tell_everything_once_and_in_order(self, kinds: list[bool], limit: int) -> None:
        log = EventLog(WALL_S)
        for number, is_rare in enumerate(kinds):
            log.add((opened if is_rare else moved)(number), WALL_S)
        seen: list[int] = []
        after = 0
        while (page := log.read(Wanted(after, limit)))["events"]:
            assert len(page["events"]) <= limit
            seen += numbers(page)
            after = page["next"]
        assert seen == list(range(1, len(kinds) + 1))
        assert after == log.last

    @given(st.lists(st.booleans(), max_size=40), st.integers(1, 7))
    def test_a_filter_loses_nothing_between_pages(self, kinds: list[bool], limit: int) -> None:
        log = EventLog(WALL_S)
        for number, is_rare in enumerate(kinds):
            log.add((opened if is_rare else moved)(number), WALL_S)
        seen: list[int] = []
        after = 0
        while (page := log.read(Wanted(after, limit, kind="circuit_changed")))["events"]:
            seen += numbers(page)
            after = page["next"]
        assert seen == [number for number, is_rare in enumerate(kinds, 1) if is_rare]

    def test_without_a_number_the_newest_are_told(self) -> None:
        log = EventLog(WALL_S)
        for number in range(5):
            log.add(moved(number), WALL_S)
        page = log.read(Wanted(limit=2))
        assert numbers(page) == [4, 5]
        assert page["next"] == 5
        log.add(opened(), WALL_S)
        assert numbers(log.read(Wanted(page["next"], 2))) == [6]

    def test_a_number_from_before_a_restart_brings_everything(self) -> None:
        log = EventLog(WALL_S)
        log.add(opened(), WALL_S)
        page = log.read(Wanted(after=900))
        assert numbers(page) == [1]
        assert page["started"] == WALL_S

    def test_a_node_is_found_in_whatever_part_it_had(self) -> None:
        log = EventLog(WALL_S)
        for event, _, _ in EVENTS.values():
            log.add(event, WALL_S)
        kinds = {one["kind"] for one in log.read(Wanted(node="gpu-2"))["events"]}
        assert kinds == {"failed_over", "rescued", "hedged"}
        about = {one["kind"] for one in log.read(Wanted(node="gpu-1"))["events"]}
        fleets = {"degradation_changed", "config_changed", "strategy_changed", "load_stage_changed"}
        assert about == set(KINDS) - fleets
        assert log.knows("gpu-2")
        assert not log.knows("gpu-9")

    def test_an_event_that_nobody_has_words_for_is_not_kept(self) -> None:
        log = EventLog(WALL_S)
        log.add(e.Event(at_s=1.0), WALL_S)
        assert (len(log), log.last) == (0, 0)
