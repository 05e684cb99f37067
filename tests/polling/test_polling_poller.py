"""Over real sockets, with time moved by hand: how often nodes are asked, and what is made of their answers."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from polling_shared import (
    LLAMACPP,
    PROPS,
    PS,
    SGLANG,
    VLLM,
    VLLM_IDLE,
    Watched,
    dumps,
    node_of,
    owned,
    set_pages,
    watching,
)

from fairlead.config import NodeConfig, NodeKind
from fairlead.config.secret import Secret
from fairlead.domain.report import LoadedModel
from fairlead.testing import FakeProvider, Fate, Reply
from fairlead.testing.provider import Received

run = asyncio.run
NOT_THERE = Reply(status=404)
SWITCHED_OFF = Reply(status=501, body=b'{"error":"off"}')


def about(nap_s: float, expected_s: float) -> bool:
    return 0.9 * expected_s <= nap_s <= 1.1 * expected_s


# --- what is reported


def test_a_vllm_node_tells() -> None:
    async def scenario() -> None:
        async with watching({"/metrics": VLLM}) as (watched, _):
            await watched.polls()
            [report] = watched.reports
            assert (report.node, report.kind, report.sampled_at_s) == ("gpu", "vllm", 100.0)
            assert (report.running, report.waiting, report.utilization, report.tokens) == (7, 1, 0.5, 32000)
            assert (report.cached_hits, report.cached_queries, report.loaded) == (700, 1500, None)
            assert watched.troubles == []

    run(scenario())


def test_a_sample_is_as_old_as_the_question() -> None:
    async def scenario() -> None:
        async with watching({"/metrics": Reply(body=VLLM, fate=Fate.HOLD)}) as (watched, provider):
            while "/metrics" not in provider.looks:
                await asyncio.sleep(0)
            watched.clock.advance(1.5)
            provider.release()
            await watched.polls()
            assert watched.reports[0].sampled_at_s == 100.0

    run(scenario())


def test_an_ollama_node_tells_what_is_loaded() -> None:
    async def scenario() -> None:
        async with watching({"/api/ps": dumps(PS)}, "ollama") as (watched, provider):
            await watched.polls()
            [report] = watched.reports
            assert report.kind == "ollama"
            assert report.running is None
            assert report.loaded is not None
            assert report.loaded["mistral:latest"].vram_bytes == 4137025024
            assert provider.looks == ["/api/ps"]

    run(scenario())


def test_an_ollama_node_that_is_spoken_to_as_openai_is_known_for_what_it_is() -> None:
    async def scenario() -> None:
        async with watching({"/v1/models": owned("library"), "/api/ps": dumps(PS)}) as (watched, _):
            await watched.polls()
            assert watched.reports[0].kind == "ollama"

    run(scenario())


def test_sglang_without_metrics_still_tells_its_capacity() -> None:
    async def scenario() -> None:
        info = dumps({"max_total_num_tokens": 1000, "max_running_requests": 8})
        async with watching({"/v1/models": owned("sglang"), "/server_info": info}) as (watched, provider):
            await watched.polls()
            [report] = watched.reports
            assert (report.tokens, report.slots, report.running) == (1000, 8, None)
            assert watched.troubles == [("gpu", "/metrics answers with status 404: start SGLang with --enable-metrics")]
            assert provider.looks == ["/v1/models", "/get_server_info", "/server_info", "/metrics"]
            set_pages(provider, {"/metrics": SGLANG})
            while watched.clock() < 100 + 600:
                assert provider.looks.count("/metrics") == 1
                assert provider.looks.count("/server_info") == len(watched.reports)  # no report without asking
                await watched.again()
            assert 5 <= provider.looks.count("/server_info") <= 11  # once a minute at most
            assert watched.reports[-1].running == 162
            assert len(watched.troubles) == 1

    run(scenario())


# --- llama.cpp, which may sleep


def llama_pages(**more: Reply | bytes) -> dict[str, Reply | bytes]:
    pages = {"/" + name: page for name, page in more.items()}
    return {"/v1/models": owned("llamacpp", "tiny", meta={"size": 9}), "/props": PROPS, **pages}


def test_a_llama_cpp_node_at_rest_is_not_kept_awake() -> None:
    async def scenario() -> None:
        async with watching(llama_pages(metrics=LLAMACPP)) as (watched, provider):
            await watched.polls(5)
            assert set(provider.looks) == {"/v1/models", "/props"}
            assert watched.reports[-1].slots == 4
            assert watched.reports[-1].running is None
            watched.busy.add("gpu")
            await watched.again()
            report = watched.reports[-1]
            assert (report.running, report.waiting, report.utilization) == (2, 1, 0.5)
            assert report.loaded == {"tiny": LoadedModel(size_bytes=9)}

    run(scenario())


def test_a_llama_cpp_node_that_sleeps_has_nothing_loaded() -> None:
    async def scenario() -> None:
        pages = llama_pages(metrics=LLAMACPP) | {"/props": PROPS.replace(b"false", b"true")}
        async with watching(pages) as (watched, _):
            await watched.polls()
            assert (watched.reports[0].loaded, watched.reports[0].running, watched.reports[0].slots) == ({}, 0, 4)

    run(scenario())


def test_slots_are_asked_where_metrics_are_switched_off() -> None:
    async def scenario() -> None:
        slots = dumps([{"is_processing": True}, {"is_processing": False}])
        async with watching(llama_pages(metrics=SWITCHED_OFF, slots=slots)) as (watched, provider):
            watched.busy.add("gpu")
            await watched.polls(3)
            assert [report.running for report in watched.reports] == [1, 1, 1]
            assert all(report.loaded for report in watched.reports)
            assert (provider.looks.count("/metrics"), provider.looks.count("/slots")) == (1, 3)
            assert provider.looks.count("/v1/models") == 2  # to find out what it is, and then once for a while
            assert watched.troubles == []

    run(scenario())


def test_who_switches_metrics_on_again_is_asked_for_them_alone() -> None:
    async def scenario() -> None:
        slots = dumps([{"is_processing": True}])
        async with watching(llama_pages(metrics=SWITCHED_OFF, slots=slots)) as (watched, provider):
            watched.busy.add("gpu")
            await watched.polls()
            set_pages(provider, {"/metrics": LLAMACPP})
            watched.clock.advance(600)
            await watched.again()
            await watched.again()
            assert [report.running for report in watched.reports] == [1, 2, 2]
            assert provider.looks.count("/slots") == 1

    run(scenario())


def test_who_switches_both_off_is_told_what_would_help() -> None:
    async def scenario() -> None:
        async with watching(llama_pages(metrics=SWITCHED_OFF, slots=SWITCHED_OFF)) as (watched, _):
            watched.busy.add("gpu")
            await watched.polls(3)
            assert watched.troubles == [
                ("gpu", "/slots answers with status 501: start llama.cpp with --metrics or --slots")
            ]
            assert watched.reports[-1].slots == 4

    run(scenario())


# --- how often


def test_a_node_at_work_is_asked_every_two_seconds_and_one_at_rest_ever_less() -> None:
    async def scenario() -> None:
        async with watching({"/metrics": VLLM_IDLE}) as (watched, provider):
            gaps = await watched.polls(13)
            assert about(gaps[0], 2.0)
            assert all(later > 1.2 * gap for gap, later in pairwise(gaps[:6]))
            assert all(about(gap, 30.0) for gap in gaps[8:])
            set_pages(provider, {"/metrics": VLLM})  # somebody else's work counts as work
            await watched.again()
            assert about(await watched.again(), 2.0)
            set_pages(provider, {"/metrics": VLLM_IDLE})
            await watched.again()
            assert about(await watched.again(), 3.0)
            watched.busy.add("gpu")
            await watched.again()
            gaps = [await watched.again() for _ in range(5)]
            assert all(about(gap, 2.0) for gap in gaps)
            assert len(set(gaps)) == 5  # never in step

    run(scenario())


def test_a_node_that_is_given_work_after_a_rest_is_asked_soon() -> None:
    async def scenario() -> None:
        async with watching({"/metrics": VLLM_IDLE}) as (watched, _):
            await watched.polls(12)
            watched.naps.end()
            await watched.naps.next()
            watched.busy.add("gpu")
            assert await watched.again() <= 4.0
            assert about(await watched.again(), 2.0)

    run(scenario())


def test_work_does_not_make_a_node_in_trouble_be_asked_more_often() -> None:
    async def scenario() -> None:
        async with watching({"/v1/models": owned("vllm"), "/metrics": Reply(status=500)}) as (watched, _):
            watched.busy.add("gpu")
            assert about((await watched.polls(10))[-1], 30.0)

    run(scenario())


def test_times_are_the_same_for_the_same_seed_and_differ_between_nodes() -> None:
    async def gaps(seed: int, name: str) -> list[float]:
        async with FakeProvider() as provider:
            set_pages(provider, {"/metrics": VLLM})
            watched = Watched(seed=seed)
            watched.poller.start(node_of(provider, name))
            found = await watched.polls(4)
            await watched.poller.close()
            return found

    assert run(gaps(1, "a")) == run(gaps(1, "a"))
    assert run(gaps(1, "a")) != run(gaps(1, "b"))
    assert run(gaps(1, "a")) != run(gaps(2, "a"))


# --- who does not tell


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 302, 501])
def test_who_has_no_metrics_is_left_in_peace_for_ten_minutes(status: int) -> None:
    async def scenario() -> None:
        async with watching({"/metrics": Reply(status=status)}) as (watched, provider):
            await watched.polls()
            watched.busy.add("gpu")
            assert provider.looks == ["/v1/models", "/metrics"]
            set_pages(provider, {"/metrics": VLLM})
            assert about(await watched.again(), 600.0)
            assert about(await watched.again(), 2.0)
            assert len(watched.reports) == 2
            assert watched.troubles == []  # many clouds have none: no fault

    run(scenario())


@pytest.mark.parametrize("page", [b"<html>", b"fairlead_requests 1\n", b'{"data":[]}', b""])
def test_metrics_of_nobody_that_is_known_are_no_fault_either(page: bytes) -> None:
    async def scenario() -> None:
        async with watching({"/metrics": page}) as (watched, _):
            assert about((await watched.polls(2))[0], 600.0)
            assert (watched.reports, watched.troubles) == ([], [])

    run(scenario())


def test_a_known_server_without_metrics_is_left_in_peace_and_told_of() -> None:
    async def scenario() -> None:
        async with watching({"/v1/models": owned("vllm")}) as (watched, _):
            assert about((await watched.polls(2))[0], 600.0)
            [(node, message)] = watched.troubles
            assert (node, message) == ("gpu", "/metrics answers with status 404: let vLLM show its metrics")

    run(scenario())


RUBBISH = {
    "page": (Reply(body=b"<!doctype html><p>hello"), "a web page"),
    "json": (Reply(body=b'{"running":3}'), "13 bytes of something else"),
    "gzip": (Reply(body=b"\x1f\x8b\x08\x00cut"), "compressed data"),
    "encoded": (Reply(body=b"\x1f\x8b", headers={"content-encoding": "gzip"}), "encoded as gzip"),
    "half a line": (Reply(body=VLLM_IDLE + b'vllm:num_requests_running{engine="1'), "no metric"),
    "large": (Reply(body=b"vllm:x 1\n" * 500_000), "larger than 4096 KiB"),
    "broken": (Reply(status=500, body=b"Traceback"), "status 500"),
    "limited": (Reply(status=429), "status 429"),
    "cut": (Reply(body=VLLM, fate=Fate.CUT), "closed the connection"),
    "reset": (Reply(body=VLLM, fate=Fate.RESET), "connection failed"),
    "hung up": (Reply(body=VLLM, fate=Fate.HANG_UP), "closed the connection"),
    "not http": (Reply(fate=Fate.NOT_HTTP), "not HTTP"),
    "flood": (Reply(fate=Fate.HEADER_FLOOD), "larger than 4096 KiB|not HTTP"),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_is_told_once_and_then_asked_for_less_and_less(kind: str) -> None:
    reply, words = RUBBISH[kind]

    async def scenario() -> list[tuple[str, str]]:
        async with watching({"/v1/models": owned("vllm"), "/metrics": reply}) as (watched, provider):
            gaps = await watched.polls(4)
            assert watched.reports == []
            assert len(watched.troubles) == 1
            assert all(later > gap for gap, later in pairwise(gaps))
            set_pages(provider, {"/metrics": VLLM})
            await watched.again()
            assert about(await watched.again(), 2.0)
            assert watched.reports[-1].running == 7
            set_pages(provider, {"/metrics": reply})
            await watched.again()
            return watched.troubles

    first, second = run(scenario())
    assert first == second
    assert first[0] == "gpu"
    assert any(word in first[1] for word in words.split("|"))
    assert len(first[1]) < 200


def test_a_node_that_says_nothing_is_given_up_in_time() -> None:
    async def scenario() -> None:
        pages: dict[str, Reply | bytes] = {"/v1/models": owned("vllm"), "/metrics": Reply(fate=Fate.SILENT)}
        async with watching(pages, timeout_s=0.05) as (watched, _):
            await watched.polls()
            assert watched.troubles == [("gpu", "/metrics: it did not answer within 0.05 s")]

    run(scenario())


def test_a_node_that_is_not_there_is_asked_again() -> None:
    async def scenario() -> None:
        async with FakeProvider() as provider:
            await provider.stop()
            watched = Watched()
            watched.poller.start(node_of(provider))
            await watched.polls(3)
            assert watched.troubles == [("gpu", "/metrics: nothing listens there")]
            await provider.start()
            set_pages(provider, {"/metrics": VLLM})
            await watched.again()
            assert watched.reports[-1].running == 7
            assert len(watched.troubles) == 1
            await watched.poller.close()

    run(scenario())


def test_another_server_in_the_same_place_is_found_out() -> None:
    async def scenario() -> None:
        async with watching({"/metrics": VLLM}) as (watched, provider):
            await watched.polls(2)
            set_pages(provider, {"/metrics": SGLANG, "/get_server_info": b'{"max_total_num_tokens": 5}'})
            await watched.again()
            await watched.again()
            assert [report.kind for report in watched.reports] == ["vllm", "vllm", "sglang"]
            assert watched.reports[-1].tokens == 432000

    run(scenario())


def test_what_one_server_did_not_offer_another_may() -> None:
    async def scenario() -> None:
        pages: dict[str, Reply | bytes] = {"/v1/models": owned("sglang"), "/get_server_info": Reply(status=500)}
        async with watching(pages) as (watched, provider):
            await watched.polls()
            set_pages(provider, {"/v1/models": owned("vllm"), "/metrics": VLLM})
            await watched.again()
            assert [report.kind for report in watched.reports] == ["vllm"]

    run(scenario())


def test_a_hiccup_does_not_make_what_lasts_unknown() -> None:
    async def scenario() -> None:
        info = dumps({"max_total_num_tokens": 1000, "max_running_requests": 8})
        models, metrics = owned("sglang"), b"sglang:num_running_reqs 2\n"
        async with watching({"/v1/models": models, "/get_server_info": info, "/metrics": metrics}) as (
            watched,
            provider,
        ):
            await watched.polls()
            set_pages(provider, {"/get_server_info": Reply(status=503)})
            while watched.clock() < 170:
                await watched.again()
            assert watched.troubles == [("gpu", "/get_server_info answers with status 503")]
            assert (watched.reports[-1].slots, watched.reports[-1].tokens) == (8, 1000)
            assert provider.looks.count("/get_server_info") > 3
            assert len(watched.reports) == provider.looks.count("/metrics")
            set_pages(provider, {"/get_server_info": NOT_THERE})
            await watched.again()
            assert (watched.reports[-1].slots, watched.reports[-1].running) == (None, 2)
            set_pages(provider, {"/metrics": Reply(status=503)})
            reports = len(watched.reports)
            await watched.again()
            assert len(watched.reports) == reports  # a node that does not answer at all is not reported of

    run(scenario())


def test_numbers_of_the_moment_are_never_kept() -> None:
    async def scenario() -> None:
        async with watching(llama_pages(metrics=LLAMACPP)) as (watched, provider):
            watched.busy.add("gpu")
            await watched.polls()
            set_pages(provider, {"/metrics": Reply(status=500)})
            await watched.again()
            before, after = watched.reports
            assert (before.running, after.running, after.slots) == (2, None, 4)
            assert watched.troubles == [("gpu", "/metrics answers with status 500")]

    run(scenario())


def test_a_node_that_takes_one_page_back_is_still_the_same_node() -> None:
    async def scenario() -> None:
        info = b'{"max_running_requests": 8}'
        async with watching({"/metrics": SGLANG, "/get_server_info": info}) as (watched, provider):
            await watched.polls()
            set_pages(provider, {"/metrics": NOT_THERE})
            await watched.again()
            assert [report.slots for report in watched.reports] == [8, 8]
            assert provider.looks.count("/v1/models") == 1

    run(scenario())


# --- how it is asked


class Noting(FakeProvider):
    """Keeps the headers of looks."""

    def page_for(self, request: Received) -> Reply:
        self.requests.append(request)
        return super().page_for(request)


def test_keys_and_headers_go_along() -> None:
    async def scenario() -> None:
        async with Noting() as provider:
            set_pages(provider, {"/metrics": VLLM})
            watched = Watched()
            watched.poller.start(node_of(provider, api_key=Secret("key-1"), headers={"x-token": Secret("t-2")}))
            await watched.polls()
            await watched.poller.close()
        sent = [(look.headers["authorization"], look.headers["x-token"]) for look in provider.requests]
        assert sent == [("Bearer key-1", "t-2")] * 3

    run(scenario())


def test_a_page_that_moved_behind_a_slash_is_followed_there() -> None:
    async def scenario() -> None:
        moved = Reply(status=307, headers={"location": "http://127.0.0.1/metrics/"})
        async with watching({"/metrics": moved, "/metrics/": VLLM}) as (watched, _):
            await watched.polls()
            assert watched.reports[0].running == 7

    run(scenario())


def test_no_page_is_followed_elsewhere() -> None:
    async def scenario() -> None:
        moved = Reply(status=307, headers={"location": "http://127.0.0.1/elsewhere"})
        async with watching({"/metrics": moved, "/elsewhere": VLLM}) as (watched, provider):
            await watched.polls()
            assert "/elsewhere" not in provider.looks

    run(scenario())


# --- nodes come and go


async def held(scenario: Callable[[Watched, FakeProvider], Awaitable[None]]) -> Watched:
    """Run a scenario that begins while a node is being asked."""
    async with watching({"/metrics": Reply(body=VLLM, fate=Fate.HOLD)}) as (watched, provider):
        async with asyncio.timeout(10):
            while "/metrics" not in provider.looks or provider.connections > 1:
                await asyncio.sleep(0)
        await scenario(watched, provider)
    return watched


async def all_gone(provider: FakeProvider) -> None:
    async with asyncio.timeout(10):
        while provider.connections:
            await asyncio.sleep(0)


def test_a_node_that_goes_while_it_is_asked_is_heard_of_no_more() -> None:
    async def scenario(watched: Watched, provider: FakeProvider) -> None:
        watched.poller.stop("gpu")
        watched.poller.stop("gpu")
        await all_gone(provider)
        provider.release()

    assert run(held(scenario)).reports == []


def test_a_node_that_comes_again_takes_the_place_of_the_former() -> None:
    async def scenario(watched: Watched, provider: FakeProvider) -> None:
        set_pages(provider, {"/metrics": VLLM_IDLE})
        watched.poller.start(node_of(provider))
        await watched.polls()
        provider.release()
        assert await watched.naps.none_begins()

    assert [report.running for report in run(held(scenario)).reports] == [0]


def test_close_leaves_nothing_behind() -> None:
    async def scenario(watched: Watched, provider: FakeProvider) -> None:
        await watched.poller.close()
        await all_gone(provider)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("poll ")]
        await watched.poller.close()

    run(held(scenario))


def test_close_ends_naps_too() -> None:
    async def scenario() -> None:
        async with FakeProvider() as provider:
            watched = Watched()
            watched.poller.start(node_of(provider))
            await watched.polls(2)
            await watched.poller.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())


def test_who_is_not_to_be_asked_is_not() -> None:
    async def scenario() -> None:
        async with FakeProvider() as provider:
            watched = Watched()
            watched.poller.start(node_of(provider, poll=False))
            watched.poller.start(NodeConfig(name="agent", command=("true",)))
            watched.poller.start(NodeConfig(name="dream", kind=NodeKind.SIMULATED))
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("poll ")]
            await watched.poller.close()
            assert provider.looks == []

    run(scenario())
