"""`fairlead nodes`, `queue` and `leases`: what they show of a running gateway, and how they end where they cannot."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

import fairlead.cli.output
from fairlead.cli import cli, main, watching
from fairlead.cli.asking import NoGatewayError
from fairlead.cli.capacity import Column, Paper, amount, bar, duration, facts, size, table
from fairlead.cli.leases import LeasesPage
from fairlead.cli.leases import view as view_leases
from fairlead.cli.nodes import NodesPage
from fairlead.cli.nodes import view as view_nodes
from fairlead.cli.queue import QueuePage
from fairlead.cli.queue import view as view_queue
from fairlead.config import loads
from fairlead.errors import FairleadError
from fairlead.gateway import RunningGateway
from fairlead.httpget import Answer, get
from fairlead.testing.provider import FakeProvider, Fate, Reply

COMMANDS = ("nodes", "queue", "leases")


def terminal(columns: int, rows: int = 40, *, colour: bool = False, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    system = "standard" if colour else None
    return Console(
        file=file, width=columns, height=rows, force_terminal=True, color_system=system,  # type: ignore[arg-type]
        highlight=False, markup=False, legacy_windows=False,
    )  # fmt: skip


def printed(out: Console) -> str:
    file: Any = out.file
    data: bytes = file.buffer.getvalue()
    return data.decode(out.encoding)


def lines(drawn: RenderableType, out: Console) -> list[str]:
    out.print(drawn)
    return [line.rstrip() for line in printed(out).splitlines()]


def shown(told: dict[str, Any], columns: int = 200, **more: Any) -> list[str]:
    """Return what is shown of an answer of any of the three pages."""
    out = terminal(columns, **more)
    paper = Paper(out)
    if "nodes" in told:
        return lines(view_nodes(msgspec.convert(told, NodesPage), paper), out)
    if "classes" in told:
        return lines(view_queue(msgspec.convert(told, QueuePage), paper), out)
    return lines(view_leases(msgspec.convert(told, LeasesPage), paper), out)


def node(name: str = "gpu-1", **more: Any) -> dict[str, Any]:
    usual = {
        "name": name, "circuit": "closed", "draining": False, "models": ["coder", "small"],
        "capacity": {"slots": 16}, "leased": {"slots": 4}, "utilization": 0.25, "warmth": 1.0, "used_last_minute": {},
    }  # fmt: skip
    return usual | more


NODES: dict[str, Any] = {
    "nodes": [
        node(
            capacity={"slots": 16, "tokens": 64000, "requests_per_minute": 60, "tokens_per_minute": 200000},
            leased={"slots": 13, "tokens": 51234},
            utilization=0.8125,
            used_last_minute={"requests": 12, "tokens": 34567},
            reported={"age_s": 3.2, "running": 14, "waiting": 2, "utilization": 0.83, "loaded": ["small"]},
        ),
        node("gpu-2", circuit="half_open", warmth=0.4,
             capacity={"slots": 16, "memory_bytes": 24e9, "usd_per_hour": 1.2},
             leased={"slots": 2, "memory_bytes": 1234567890}, utilization=0.125),
        node("cloud", circuit="open", draining=True, models=["gpt-4o"], capacity={}, leased={"slots": 7},
             utilization=0),
    ],
    "deviation": 0.8123,
}  # fmt: skip


def waiting(number: int = 0, oldest_s: float = 0.0, expected_s: float = 0.0) -> dict[str, Any]:
    return {
        "waiting": number, "tokens": 1000 * number, "size_bytes": 2000 * number,
        "oldest_wait_s": oldest_s, "expected_wait_s": expected_s,
    }  # fmt: skip


CALM = {"shed": [], "queue_share": 1.0, "affinity_worth": 1.0, "wants_more_nodes": False, "stage": "calm", "why": ""}
IDLE: dict[str, Any] = {
    "classes": {"batch": waiting(), "normal": waiting(), "interactive": waiting()}, "tenants": {},
    "drain_tokens_per_s": 0.0, "drain_tasks_per_s": 0.0, "usual_tokens_per_s": 0.0,
    "refused": {"deadline": 0, "too_long": 0, "full": 0, "shed": 0},
    "evicted_total": 0, "expired_total": 0, "admitted_total": 0, "arrivals": CALM,
}  # fmt: skip
QUEUE = IDLE | {
    "classes": {"batch": waiting(30, 65, 130), "normal": waiting(3, 3.4, 7.2), "interactive": waiting()},
    "tenants": {
        "alice": {"waiting": 3, "share": 0.75, "served_tokens": 12345},
        "": {"waiting": 30, "share": 0.25, "served_tokens": 0},
        "bob": {"waiting": 0, "share": 0.0, "served_tokens": 77},
    },
    "drain_tokens_per_s": 456.7, "drain_tasks_per_s": 1.234, "usual_tokens_per_s": 321.0,
    "refused": {"deadline": 1, "too_long": 0, "full": 3, "shed": 0},
    "evicted_total": 2, "expired_total": 4, "admitted_total": 123,
    "arrivals": {
        "shed": ["batch"], "queue_share": 0.5, "affinity_worth": 0.25, "wants_more_nodes": True, "stage": "spike",
        "why": "240 a second",
    },
}  # fmt: skip


def lease(number: int, **more: Any) -> dict[str, Any]:
    usual = {
        "id": number, "node": "gpu-1", "task": f"k3-{number}", "model": "coder", "tenant": None, "priority": 4,
        "holds": {"slots": 1}, "age_s": 1.0 * number, "expires_in_s": 600.0 - number, "probe": False,
    }  # fmt: skip
    return usual | more


def row(text: list[str], start: str) -> str:
    (found,) = [line for line in text if line.startswith(start)]
    return " ".join(found.split())


class TestNodes:
    def test_what_each_has_and_holds(self) -> None:
        text = shown(NODES)
        assert row(text, "gpu-1") == (
            "gpu-1 ████████▏░ 81% 13/16 closed 51.2k/64k 12/60 34.6k/200k "
            "14 running, 2 waiting, 83% used; 3 s ago small*, coder"
        )
        assert row(text, "gpu-2") == "gpu-2 █▎░░░░░░░░ 12% 2/16 half open, 40% warm 1.2 GB/24 GB coder, small"
        assert row(text, "cloud") == "cloud no limit known 7 open, draining gpt-4o"
        assert "models (* in memory)" in text[0]
        assert "GPU memory" not in text[0], "no node is known to have any"

    def test_the_fleet_beneath(self) -> None:
        assert shown(NODES)[-2:] == [
            "3 nodes, 15 of 32 slots leased (47%), 7 more where no limit is known, loads differ by 81%, $1.20 an hour",
            "given no tasks: cloud",
        ]
        assert shown({"nodes": [node()], "deviation": 0.0})[-1] == "1 node, 4 of 16 slots leased (25%)"
        assert shown({"nodes": [node(capacity={})]})[-1] == "1 node, 4 slots leased"

    def test_no_nodes(self) -> None:
        assert shown({"nodes": []}) == [
            "no node serves anything here; `fairlead check` shows what the configuration says"
        ]

    def test_many_models_are_counted(self) -> None:
        many = node(models=[f"model-{number}" for number in range(40)])
        assert row(shown({"nodes": [many]}), "gpu-1").endswith("model-0, model-1, model-2, model-3, +36")
        one = node(models=["m" * 60])
        assert row(shown({"nodes": [one]}), "gpu-1").endswith(" " + "m" * 60), "one name is always told"

    def test_a_report_that_tells_little(self) -> None:
        text = shown({"nodes": [node(reported={"age_s": -0.01, "loaded": []})]})
        assert "alive; 0 s ago" in row(text, "gpu-1")

    def test_prompts_that_are_known(self) -> None:
        def told(**prefix: Any) -> str:
            return row(shown({"nodes": [node(prefix=prefix)]}), "gpu-1")

        assert " 17 blocks, 80% of 1.5k tokens found coder" in told(
            blocks=17, promised_tokens=1500, found_tokens=1200, trust=0.9
        )
        assert " 1 block coder" in told(blocks=1), "nothing was promised yet, or the node does not tell"
        assert "known" not in shown({"nodes": [node(prefix={"blocks": 0})]})[0]

    def test_what_scaling_does_and_why(self) -> None:
        plan = "start 1, up to 2 nodes: 9 slots"
        history = [
            {"age_s": 400.0, "what": "start", "node": "auto-0", "said": "long ago"},
            {"age_s": 31.0, "what": "stop", "node": "auto-1", "said": "auto-1 was stopped"},
            {"age_s": 20.2, "what": "trouble", "node": "auto-1", "said": "auto-1 was not started: no quota"},
            {"age_s": 9.9, "what": "start", "node": "auto-1", "said": "auto-1 serves after 1.3 s"},
            {"age_s": 11.2, "what": "plan", "node": "", "said": plan},
        ]
        text = shown({"nodes": [node()], "scaling": {"target": 2, "why": plan, "history": history}})
        assert text[-4:] == [
            f"scaling    {plan}",
            "           10 s ago: auto-1 serves after 1.3 s",
            "           20 s ago: auto-1 was not started: no quota",
            "           31 s ago: auto-1 was stopped",
        ]
        first = shown({"nodes": [], "scaling": {"target": None, "why": "", "history": []}})
        assert first[-1] == "scaling    the first plan is not made yet", "also while there is no node at all"


class TestQueue:
    def test_classes_in_their_order(self) -> None:
        text = shown(QUEUE | {"max_wait_s": {"interactive": 15, "normal": 60, "batch": 300}})
        assert [line.split()[0] for line in text[1:4]] == ["interactive", "normal", "batch"]
        assert row(text, "interactive") == "interactive 0 0 s 15 s"
        assert row(text, "normal") == "normal 3 3 s 7 s 1 min ▌░░░░░░░░░ 5.7% 3k 6 kB"
        assert row(text, "batch") == "batch 30 1 min 5 s 2 min 10 s 5 min ██▏░░░░░░░ 22% 30k 60 kB"

    def test_without_limits_there_are_no_such_columns(self) -> None:
        text = shown(QUEUE)
        assert "limit" not in text[0]
        assert row(text, "normal") == "normal 3 3 s 7 s 3k 6 kB"

    def test_a_wait_that_nobody_can_know_yet(self) -> None:
        text = shown(QUEUE | {"drain_tokens_per_s": 0.0, "drain_tasks_per_s": 0.0})
        assert row(text, "normal") == "normal 3 3 s ? 3k 6 kB"
        assert "flow       how long they wait is not known yet: nothing has ended since somebody waits" in text

    def test_those_without_a_tenant_need_no_table(self) -> None:
        assert not any("tenant" in line for line in shown(QUEUE | {"tenants": {"": QUEUE["tenants"][""]}}))

    def test_tenants_by_their_share(self) -> None:
        text = shown(QUEUE)
        at = next(at for at, line in enumerate(text) if line.startswith("tenant"))
        assert [" ".join(line.split()) for line in text[at + 1 : at + 4]] == [
            "alice ███████▌░░ 75% 3 12.3k",
            "(no tenant) ██▌░░░░░░░ 25% 30 0",
            "bob 0 77",
        ]

    def test_what_is_done_about_it(self) -> None:
        told = dict(line.split(maxsplit=1) for line in shown(QUEUE)[-4:])
        assert told["arrivals"] == (
            "spike: 240 a second; batch work is refused; waits are held to 50% of the usual; affinity counts 25%; "
            "more nodes would help"
        )
        flow = "457 tokens/s (1.2 tasks/s) go away while somebody waits; 321 tokens/s usually come"
        assert told["flow"] == flow
        assert told["let"] == "in     123 tasks that waited, since the start"
        assert told["refused"] == (
            "1 whose deadline could not be met, 3 for which the queue was full, 4 that waited in vain, "
            "2 whose place went to others"
        )
        assert "waiting    33 tasks, 33k tokens" in shown(QUEUE)

    def test_nobody_waits(self) -> None:
        assert shown(IDLE) == [
            "nobody waits; expected wait for a normal task: 0 s",
            "",
            "arrivals   calm",
            "let in     0 tasks that waited, since the start",
        ]
        differing = IDLE | {"classes": {"batch": waiting(0, 0, 9), "normal": waiting(), "interactive": waiting()}}
        assert shown(differing)[0] == "nobody waits; expected wait: interactive 0 s, normal 0 s, batch 9 s"


class TestLeases:
    def test_the_oldest_first(self) -> None:
        told = {
            "leases": [
                lease(2, priority=9, probe=True, age_s=7.0, written_tokens=12),
                lease(7, priority=1, tenant="alice", age_s=70.0, written_tokens=150,
                      holds={"slots": 1, "input_tokens": 900, "output_tokens": 200}),
                lease(9, node="gpu-2", task=None, model=None, priority=None, age_s=0.04, holds={"memory_bytes": 10**9}),
            ],
            "total": 3,
            "expired_total": 0,
        }  # fmt: skip
        text = shown(told)
        assert [" ".join(line.split()) for line in text[1:4]] == [
            "1 min 10 s k3-7 gpu-1 interactive 1 1.1k 150/200 coder alice 9 min 53 s",
            "7 s k3-2 (probe) gpu-1 batch (9) 1 12 coder 9 min 58 s",
            "0 s ? gpu-2 1 GB 9 min 51 s",
        ]
        assert text[-1] == "3 leases: 2 slots and 1.1k tokens on 2 nodes"

    def test_more_than_are_listed(self) -> None:
        text = shown({"leases": [lease(1)], "total": 2345, "expired_total": 2})
        assert (
            text[-1]
            == "1 of 2345 leases: 1 slot on 1 node; 2 leases expired since the start: their owners had vanished"
        )

    def test_no_leases(self) -> None:
        idle = {"leases": [], "total": 0, "expired_total": 0}
        assert shown(idle) == ["no lease is out: no task is on a node now"]
        assert shown(idle | {"expired_total": 1})[0].endswith(
            "now; 1 lease expired since the start: their owners had vanished"
        )


LEASES = {"leases": [lease(number, tenant="alice") for number in range(60)], "total": 60, "expired_total": 0}
LIMITS = {"max_wait_s": {"interactive": 15, "normal": 60, "batch": 300}}


class TestPaper:
    @pytest.mark.parametrize("told", [NODES, QUEUE | LIMITS, LEASES, IDLE], ids=["nodes", "queue", "leases", "idle"])
    @pytest.mark.parametrize("columns", [40, 60, 80, 100, 140])
    def test_it_fits_a_terminal(self, told: dict[str, Any], columns: int) -> None:
        text = shown(told, columns)
        assert max(map(len, text)) <= columns
        for name in ("gpu-1", "normal", "k3-59"):
            assert any(name in line for line in shown(told)) == any(name in line for line in text)

    def test_what_was_left_out_is_named(self) -> None:
        left_out = [line for line in shown(NODES, 90) if line.startswith("a wider terminal shows: ")]
        assert left_out[0].endswith("models (* in memory)")
        assert not any("a wider terminal" in line for line in shown(NODES))

    @pytest.mark.parametrize("view", [view_nodes, view_queue, view_leases])
    def test_where_only_ascii_can_be_shown(self, view: Callable[..., RenderableType]) -> None:
        out = terminal(200, encoding="ascii")
        told, page = {
            view_nodes: (NODES, NodesPage), view_queue: (QUEUE, QueuePage), view_leases: (LEASES, LeasesPage)
        }[view]  # fmt: skip
        out.print(view(msgspec.convert(told, page), Paper(out)))
        assert printed(out).isascii()

    @pytest.mark.parametrize("rows", [12, 20, 40])
    def test_a_screen_has_room_for_the_sum(self, rows: int) -> None:
        out = terminal(100, rows)
        text = lines(view_leases(msgspec.convert(LEASES, LeasesPage), Paper(out, is_bounded=True)), out)
        assert len(text) <= rows
        assert text[-1].startswith("60 leases: 60 slots on 1 node")
        listed = sum("k3-" in line for line in text)
        assert f"and {60 - listed} more" in text
        assert listed >= 3

    def test_nothing_reaches_the_terminal_unseen(self) -> None:
        bad = "\x1b[2J\x07\x9b1m"
        told: list[dict[str, Any]] = [
            {"nodes": [node(bad, circuit=bad, models=[bad], draining=True)]},
            IDLE | {"classes": {bad: waiting(1), "normal": waiting()}, "tenants": {bad: QUEUE["tenants"]["alice"]},
                    "arrivals": CALM | {"why": bad, "shed": [bad]}, "refused": {bad: 1}},
            {"leases": [lease(1, node=bad, task=bad, model=bad, tenant=bad)]},
        ]  # fmt: skip
        for one in told:
            assert not {"\x1b", "\x07", "\x9b"} & set("".join(shown(one)))

    @pytest.mark.parametrize(("share", "colour"), [(0.5, "\x1b[32m"), (0.8, "\x1b[33m"), (1.0, "\x1b[31m")])
    def test_colours_of_load(self, share: float, colour: str) -> None:
        out = terminal(80, colour=True)
        out.print(bar(Paper(out), share))
        assert printed(out).startswith(colour)

    @given(st.floats(0, 10))
    def test_bars_have_one_length(self, share: float) -> None:
        for encoding in ("utf-8", "ascii"):
            text = bar(Paper(terminal(80, encoding=encoding)), share).plain
            drawn, _, number = text.partition(" ")
            assert len(drawn) == 10
            assert number.strip().endswith("%")
            assert drawn.count("█") + drawn.count("#") == int(min(share, 1.0) * 10)

    def test_facts_hang(self) -> None:
        out = terminal(40)
        text = lines(facts([("head", "word " * 20, "")]), out)
        assert text[0].startswith("head       word")
        assert all(line.startswith(" " * 11 + "word") for line in text[1:])

    def test_columns_without_text_are_left_out(self) -> None:
        out = terminal(40)
        assert lines(table(Paper(out), Column("a", ["1"]), Column("b", [""]))[0], out) == ["a", "1"]


class TestNumbers:
    @pytest.mark.parametrize(
        ("number", "text"),
        [(0, "0"), (0.25, "0.2"), (7, "7"), (950, "950"), (999, "999"), (999.6, "1k"), (12345, "12.3k"), (64000, "64k"),
         (200_000, "200k"), (999_960, "1M"), (1_234_567, "1.2M"), (5e9, "5G")],
    )  # fmt: skip
    def test_amounts(self, number: float, text: str) -> None:
        assert amount(number) == text

    @pytest.mark.parametrize(
        ("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567_890, "1.2 GB"), (3e12, "3 TB")]
    )  # fmt: skip
    def test_sizes(self, number: float, text: str) -> None:
        assert size(number) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 s"), (0.04, "0 s"), (0.44, "0.4 s"), (0.97, "1 s"), (3.2, "3 s"), (59.6, "1 min"), (125, "2 min 5 s"),
         (3600, "1 h"), (3780, "1 h 3 min"), (90_000, "1 d 1 h"), (-5, "-5 s")],
    )  # fmt: skip
    def test_durations(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text

    @given(st.floats(0, 1e12))
    def test_amounts_are_short_and_near(self, number: float) -> None:
        text = amount(number)
        assert len(text) <= 6
        unit = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1.0)
        assert float(text.rstrip("kMG")) * unit == pytest.approx(number, rel=0.06, abs=0.06)


# -- over a running gateway


def run(*args: object, key: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], env={"FAIRLEAD_KEY": key}, catch_exceptions=True)


def complaint(*args: object, key: str | None = None) -> str:
    error = run(*args, key=key).exception
    assert isinstance(error, FairleadError), error
    assert "\n" not in str(error)
    return str(error)


async def aside(*args: object, key: str | None = "ops-key") -> str:
    """Run a command beside the gateway's loop, and return what it prints."""
    done = await asyncio.to_thread(run, *args, key=key)
    assert done.exit_code == 0, done
    return done.output


async def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "the condition did not come true in time"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def busy(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """Run a gateway whose two nodes of one slot hold their answers while three more tasks wait."""
    async with FakeProvider(default=Reply(fate=Fate.HOLD)) as provider:
        nodes = "\n".join(
            f"  - {{name: {name}, url: '{provider.url}', models: [m], poll: false, capacity: {{slots: 1}}}}"
            for name in ("left", "right")
        )
        text = (
            f"listen: 127.0.0.1:0\nunix_socket: {tmp_path / 'admin.sock'}\nstate: {{enabled: false}}\n"
            "timeouts: {first_token_s: 60, total_s: 90}\nnodes:\n" + nodes + "\nkeys:\n"
            "  - {name: alice, key: alices-key}\n  - {name: bob, key: bobs-key, share: 3}\n"
            "  - {name: ops, key: ops-key, admin: true}\n"
        )
        running = RunningGateway(loads(text))
        await running.start()
        queue = running.orchestrator.lobby.queue
        asked: list[asyncio.Task[Answer]] = []
        try:
            for number, (key, priority) in enumerate(
                (
                    ("alices", "normal"),
                    ("alices", "interactive"),
                    ("alices", "normal"),
                    ("bobs", "normal"),
                    ("bobs", "2"),
                )
            ):
                asked.append(asyncio.create_task(chat(running, f"{key}-key", priority)))
                await until(lambda: provider.answering + len(queue) == len(asked))
                assert provider.answering == min(number + 1, 2)
            yield running
            provider.default = Reply()
            provider.release()
            assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 5
        finally:
            for one in asked:
                one.cancel()
            await running.stop(0.0)


async def chat(running: RunningGateway, key: str, priority: str) -> Answer:
    headers = {"authorization": f"Bearer {key}", "x-fairlead-priority": priority}
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hello there"}]}'
    url = f"{running.url}/v1/chat/completions"
    return await get(url, headers=headers, body=body, timeout_s=60, limit_bytes=2**20)


class TestRunningGateway:
    def test_nodes_that_are_full_and_tasks_that_wait(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with busy(tmp_path) as running:
                at = ("--url", running.url)
                nodes = (await aside("nodes", *at)).splitlines()
                for name in ("left", "right"):
                    assert row(nodes, name).startswith(f"{name} ██████████ 100% 1/1 closed")
                assert nodes[-1].startswith("2 nodes, 2 of 2 slots leased (100%)")

                queue = (await aside("queue", *at)).splitlines()
                assert row(queue, "interactive").startswith("interactive 1 ")
                assert row(queue, "normal").startswith("normal 2 ")
                assert row(queue, "batch").startswith("batch 0 ")
                tenants = [line for line in queue if line.startswith(("alice", "bob"))]
                assert [line.split()[0] for line in tenants] == ["bob", "alice"], "the greater share first"
                assert "75%" in tenants[0]
                assert "25%" in tenants[1]
                assert row(queue, "waiting").startswith("waiting 3 tasks")

                leases = (await aside("leases", *at)).splitlines()
                first, second = [line.split() for line in leases[1:3]]
                assert {first[3], second[3]} == {"left", "right"}
                assert first[4] == "normal"
                assert second[4] == "interactive"
                assert first.count("alice") == second.count("alice") == 1
                assert leases[-1].startswith("2 leases: 2 slots")

        asyncio.run(main())

    def test_what_a_node_says_itself(self, tmp_path: Path) -> None:
        page = b"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3\nvllm:num_requests_waiting 1\n"

        async def main() -> None:
            async with FakeProvider() as provider:
                provider.pages["/metrics"] = Reply(body=page)
                where = f"{{name: gpu, url: '{provider.url}', models: [m], capacity: {{slots: 4}}}}"
                running = RunningGateway(loads(f"listen: 127.0.0.1:0\nstate: {{enabled: false}}\nnodes: [{where}]\n"))
                await running.start()
                try:
                    await until(lambda: running.orchestrator.fleet.nodes["gpu"].report is not None)
                    text = (await aside("nodes", "--url", running.url)).splitlines()
                    assert "0/4 closed healthy 3 running, 1 waiting" in row(text, "gpu")
                    assert " ago " in row(text, "gpu")
                finally:
                    await running.stop(0.0)

        asyncio.run(main())

    def test_for_machines_and_over_the_socket(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with busy(tmp_path):
                at = ("--socket", tmp_path / "admin.sock")
                nodes = json.loads(await aside("nodes", *at, "--json", key=None))
                assert [one["leased"]["slots"] for one in nodes["nodes"]] == [1, 1]
                queue = json.loads(await aside("queue", *at, "--json", key=None))
                assert {name: one["waiting"] for name, one in queue["classes"].items()} == {
                    "interactive": 1, "normal": 2, "batch": 0
                }  # fmt: skip
                leases = json.loads(await aside("leases", *at, "--json", key=None))
                assert (len(leases["leases"]), leases["total"]) == (2, 2)

        asyncio.run(main())

    def test_an_idle_gateway_and_keys(self) -> None:
        text = (
            "listen: 127.0.0.1:0\nstate: {enabled: false}\nnodes: [{kind: simulated, name: sim, models: [m]}]\n"
            "keys: [{name: alice, key: alices-key}, {name: ops, key: ops-key, admin: true}]\n"
        )

        async def main() -> None:
            running = RunningGateway(loads(text))
            await running.start()
            try:
                at = ("--url", running.url)
                assert "no limit known" in await aside("nodes", *at)
                assert "nobody waits; expected wait for a normal task: 0 s" in await aside("queue", *at)
                assert "no lease is out" in await aside("leases", *at, "--key", "ops-key", key=None)
                for command in COMMANDS:
                    told = await asyncio.to_thread(complaint, command, *at, key="alices-key")
                    assert told.startswith(
                        f"the gateway at {running.url} shows this to admins only: say an admin's key"
                    )
                    assert "needs a key: say it with --key" in await asyncio.to_thread(complaint, command, *at)
                    assert "does not know this key" in await asyncio.to_thread(complaint, command, *at, key="another")
            finally:
                await running.stop(0.0)

        asyncio.run(main())

    @pytest.mark.parametrize("command", COMMANDS)
    def test_nobody_answers(self, command: str, closed_port: int, tmp_path: Path) -> None:
        text = complaint(command, "--url", f"http://127.0.0.1:{closed_port}")
        assert text == (
            f"no gateway answers at http://127.0.0.1:{closed_port} (connection refused): "
            "start it with `fairlead serve`, or say with --url or --socket where to look"
        )
        assert "(no such file or directory)" in complaint(command, "--socket", tmp_path / "none.sock")
        assert "is no address of a gateway" in complaint(command, "--url", "127.0.0.1:8400")


# -- watching


class Times:
    """Stands in for waiting: lets so many looks go by, and then it is Ctrl-C."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.paused: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.paused.append(seconds)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is told to one look after the other, the last one to all that follow."""
    told: list[object] = []

    def ask(*_: object, **__: object) -> object:
        one = told.pop(0) if len(told) > 1 else told[0]
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(watching, "ask", ask)
    return told


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Console:
    console = terminal(100, 30)
    monkeypatch.setattr(fairlead.cli.output, "console", lambda err=False: console)
    return console


class TestWatching:
    def test_until_ctrl_c(self, monkeypatch: pytest.MonkeyPatch, answers: list[object], out: Console) -> None:
        times = Times(3)
        monkeypatch.setattr(watching, "_pause", times)
        answers += [{"nodes": [node(name)]} for name in ("first", "second", "third")]
        assert main(["nodes", "--watch"]) == 130
        assert times.paused == [2.0] * 3
        text = printed(out)
        assert all(name in text for name in ("first", "second", "third", "every 2 s; Ctrl-C ends it"))
        assert text.index("first") < text.index("second") < text.index("third")
        assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is there again"

    def test_a_gateway_that_is_away_for_a_while(
        self, monkeypatch: pytest.MonkeyPatch, answers: list[object], out: Console
    ) -> None:
        monkeypatch.setattr(watching, "_pause", Times(3))
        answers += [
            {"nodes": [node("first")]},
            NoGatewayError("no gateway answers at x (gone)"),
            {"nodes": [node("third")]},
        ]
        assert main(["nodes", "--watch", "0.5"]) == 130
        text = printed(out)
        assert "no gateway answers at x (gone); this is what it told last" in text
        assert "third" in text

    def test_what_cannot_get_better_ends_it(
        self, monkeypatch: pytest.MonkeyPatch, answers: list[object], out: Console, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(watching, "_pause", Times(3))
        answers += [{"nodes": [node("first")]}, FairleadError("this key is not known any more")]
        assert main(["nodes", "--watch"]) == 2
        assert capsys.readouterr().err == "fairlead: this key is not known any more\n"
        assert printed(out).endswith("\x1b[?25h")

    @pytest.mark.parametrize("rows", [10, 24])
    def test_no_more_than_a_screen(self, rows: int, monkeypatch: pytest.MonkeyPatch, answers: list[object]) -> None:
        console = terminal(100, rows)
        monkeypatch.setattr(fairlead.cli.output, "console", lambda err=False: console)
        monkeypatch.setattr(watching, "_pause", Times(1))
        answers.append(LEASES)
        main(["leases", "--watch"])
        first, _, _ = printed(console).removeprefix("\x1b[?25l").partition("\x1b")
        assert 0 < first.count("\n") <= rows

    def test_in_a_pipe_once(self, monkeypatch: pytest.MonkeyPatch, answers: list[object]) -> None:
        monkeypatch.setattr(watching, "_pause", Times(1))
        answers.append({"nodes": [node("only")]})
        done = run("nodes", "--watch", "5")
        assert done.exit_code == 0
        assert done.output.count("only") == 1
        assert "\x1b" not in done.output

    @pytest.mark.parametrize("option", ["0", "4000", "nan", "soon"])
    def test_how_often(self, option: str, answers: list[object], capsys: pytest.CaptureFixture[str]) -> None:
        answers.append({"nodes": [node()]})
        assert main(["nodes", "--watch", option]) == 2
        assert "--watch" in capsys.readouterr().err

    def test_not_for_machines(self, answers: list[object]) -> None:
        answers.append({"nodes": []})
        assert isinstance(run("nodes", "--watch", "--json").exception, SystemExit | click.UsageError)


@pytest.mark.parametrize(
    ("command", "told"),
    [("nodes", {"nodes": [{"name": 1}]}), ("nodes", {"nodes": None}), ("queue", {"classes": []}),
     ("leases", {"leases": [[]]})],
)  # fmt: skip
def test_another_version(command: str, told: dict[str, Any], answers: list[object]) -> None:
    answers.append(told)
    assert "it is of another version than this command" in complaint(command)
