"""Each server's own format is understood; what cannot be is dropped, and rubbish is one clear error."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polling_shared import LLAMACPP, PROPS, PS, SGLANG, VLLM, dumps, owned

from fairlead.domain import Capacity
from fairlead.domain.report import LoadedModel, NodeReport
from fairlead.polling import PollError, learnt_capacity, llamacpp, ollama, sglang, vllm
from fairlead.polling.servers import LLAMACPP as LLAMACPP_SERVER
from fairlead.polling.servers import OLLAMA, server_by_metrics, server_by_models
from fairlead.polling.servers import SGLANG as SGLANG_SERVER
from fairlead.polling.servers import VLLM as VLLM_SERVER
from fairlead.polling.told import Told

Read = Callable[[bytes], Told]
METRICS: list[Read] = [vllm.read_metrics, sglang.read_metrics, llamacpp.read_metrics]
OBJECTS: list[Read] = [
    sglang.read_server_info,
    llamacpp.read_props,
    llamacpp.read_slots,
    llamacpp.read_models,
    ollama.read_ps,
]


def test_vllm_tells_of_all_its_engines() -> None:
    assert vllm.read_metrics(VLLM) == {
        "running": 7,
        "waiting": 1,
        "utilization": 0.5,
        "cached_hits": 700,
        "cached_queries": 1500,
        "tokens": 32000,
    }


def test_older_vllm_has_other_names() -> None:
    page = b'vllm:gpu_cache_usage_perc{model_name="m"} 0.125\nvllm:gpu_prefix_cache_hits_total 3\n'
    page += b"vllm:gpu_prefix_cache_queries_total 5\nvllm:gpu_prefix_cache_hit_rate -1\n"
    assert vllm.read_metrics(page) == {"utilization": 0.125, "cached_hits": 3, "cached_queries": 5}


@pytest.mark.parametrize(
    ("labels", "tokens"),
    [
        ('block_size="16",num_gpu_blocks="573"', 9168),
        ('block_size="16",kv_cache_size_tokens="1000",num_gpu_blocks="573"', 1000),
        ('block_size="16",num_gpu_blocks="None"', None),
        ('block_size="16",num_gpu_blocks="0"', None),
        ('block_size="-16",num_gpu_blocks="573"', None),
        ('block_size="9999999999999",num_gpu_blocks="9999999999999"', None),
        ('num_gpu_blocks="573"', None),
        (f'block_size="{"9" * 5000}",num_gpu_blocks="573"', None),
        ('block_size="\u0661\u0666",num_gpu_blocks="573"', None),
    ],
)
def test_the_size_of_vllms_cache(labels: str, tokens: int | None) -> None:
    told = vllm.read_metrics(f"vllm:num_requests_running 1\nvllm:cache_config_info{{{labels}}} 1.0\n".encode())
    assert told.get("tokens") == tokens
    assert told["running"] == 1


def test_half_a_cache_is_not_told_as_the_whole() -> None:
    page = VLLM.replace(b'engine="1",num_gpu_blocks="1000"', b'engine="1",num_gpu_blocks="None"')
    assert "tokens" not in vllm.read_metrics(page)


def test_sglang() -> None:
    assert sglang.read_metrics(SGLANG) == {
        "running": 162,
        "waiting": 2826,
        "utilization": 0.28,
        "tokens": 432000,
        "cached_queries": 8128902,
        "cached_share": 0.0075,
    }


def test_sglangs_workers_on_one_engine_are_not_counted_twice() -> None:
    page = "".join(
        f'sglang:num_running_reqs{{dp_rank="{dp}",tp_rank="{tp}"}} {dp + 2}\n' for dp in (0, 1) for tp in (0, 1)
    )
    assert sglang.read_metrics(page.encode()) == {"running": 5}


def test_sglangs_server_info() -> None:
    info = {"max_total_num_tokens": 1000, "max_running_requests": 64, "dp_size": 2, "api_key": "secret"}
    assert sglang.read_server_info(dumps(info)) == {"slots": 64, "tokens": 2000}
    assert sglang.read_server_info(dumps({"max_total_num_tokens": 5, "max_running_requests": None})) == {"tokens": 5}


def test_llama_cpp() -> None:
    assert llamacpp.read_metrics(LLAMACPP) == {
        "running": 2,
        "waiting": 1,
        "cached_hits": 240,
        "cached_queries": 375,
    }
    older = b"llamacpp:kv_cache_usage_ratio 0.5\nllamacpp:prompt_tokens_total 6886\nllamacpp:requests_processing 0\n"
    assert llamacpp.read_metrics(older) == {"running": 0, "utilization": 0.5}
    assert llamacpp.read_props(PROPS) == {"slots": 4}
    asleep = {"slots": 4, "loaded": {}, "running": 0, "waiting": 0}
    assert llamacpp.read_props(PROPS.replace(b"false", b"true")) == asleep


@pytest.mark.parametrize(
    "rows", [[{"is_processing": True}, {"is_processing": False}], [{"state": 1, "prompt": "x"}, {"state": 0}]]
)
def test_llama_cpps_slots_in_both_forms(rows: list[Any]) -> None:
    assert llamacpp.read_slots(dumps(rows)) == {"slots": 2, "running": 1}


def test_llama_cpps_models() -> None:
    page = owned("llamacpp", "tiny", meta={"size": 34516224, "n_ctx": 512})
    loaded = {"tiny": LoadedModel(size_bytes=34516224, context_tokens=512)}
    assert llamacpp.read_models(page) == {"loaded": loaded}
    rows = [{"id": word, "status": {"value": word}} for word in ("loaded", "unloaded", "sleeping", "loading")]
    assert llamacpp.read_models(dumps({"data": rows})) == {"loaded": {"loaded": LoadedModel()}}


def test_ollama() -> None:
    at = datetime(2026, 6, 4, 21, 38, 31, 837530, UTC).timestamp()
    told = ollama.read_ps(dumps(PS))
    assert told == {"loaded": {"mistral:latest": LoadedModel(5137025024, 4137025024, 4096, at)}}
    assert ollama.read_ps(b'{"models":null}') == ollama.read_ps(b'{"models":[]}') == {"loaded": {}}


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "soon", "", 7, None, "9999-12-31T23:59:59-23:59"])
def test_ollamas_times_may_be_anything(time: object) -> None:
    [model] = ollama.read_ps(dumps({"models": [{"model": "m", "expires_at": time, "size": -1}]}))["loaded"].values()
    assert model.size_bytes is None
    assert model.expires_at_s is None or model.expires_at_s > 0


@pytest.mark.parametrize("value", ["true", '"4"', "[4]", "{}", "null", "0", "-4", "1e300", "4.5e6"])
def test_a_number_of_slots_that_cannot_be_is_not_told(value: str) -> None:
    assert "slots" not in llamacpp.read_props(f'{{"total_slots":{value},"is_sleeping":true}}'.encode())
    with pytest.raises(PollError, match="total_slots"):
        llamacpp.read_props(f'{{"total_slots":{value}}}'.encode())


@pytest.mark.parametrize("value", ["NaN", "-1", "+Inf", "-Inf", "1e300", "1.5e6"])
def test_numbers_that_cannot_be_are_dropped_and_the_others_stay(value: str) -> None:
    page = f"vllm:num_requests_running {value}\nvllm:kv_cache_usage_perc {value}\nvllm:num_requests_waiting 2\n"
    assert vllm.read_metrics(page.encode()) == {"waiting": 2}


RUBBISH = {
    b"": "nothing",
    b"  \n": "nothing",
    b"<!DOCTYPE html><html>hello</html>": "a web page",
    b"\x1f\x8b\x08\x00\x00": "compressed data that nobody asked for",
    b"\xff\xfe\x00": "3 bytes of something else",
    b"x" * 5_000_000: "5000000 bytes of something else",
}


@pytest.mark.parametrize("read", METRICS + OBJECTS)
@pytest.mark.parametrize("body", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_is_one_clear_error(read: Read, body: bytes) -> None:
    with pytest.raises(PollError, match=RUBBISH[body]):
        read(body)


@pytest.mark.parametrize(
    "line",
    [
        b'vllm:num_requests_running{engine="0 3',
        b'vllm:num_requests_running{engine="0",\t=model_name="m"} 3',
        b"vllm:num_requests_running three",
        b"vllm:num_requests_running ",
        b"vllm:num_requests_running \xff",
    ],
)
def test_half_a_line_is_a_clear_error(line: bytes) -> None:
    with pytest.raises(PollError, match=r"no metric|none of vLLM"):
        vllm.read_metrics(VLLM + line)


def test_a_page_with_too_many_lines_is_refused() -> None:
    with pytest.raises(PollError, match="3000 lines"):
        vllm.read_metrics(b"vllm:num_requests_running 1\n" * 3000)


KEYS = ["data", "models", "id", "name", "status", "value", "meta", "size", "n_ctx", "total_slots", "state"]
KEYS += ["is_sleeping", "is_processing", "expires_at", "max_total_num_tokens", "dp_size", "owned_by"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
LINES = st.lists(
    st.tuples(
        st.sampled_from([b"vllm:num_requests_running", b"vllm:cache_config_info", b"sglang:token_usage"])
        | st.just(b"llamacpp:requests_processing"),
        st.binary(max_size=40),
    ),
    max_size=6,
)


@given(JSON)
def test_no_json_upsets_a_reader(value: Any) -> None:
    body = json.dumps(value).encode()
    server_by_models(body)
    for read in OBJECTS:
        check(read, body)


@given(LINES, st.binary(max_size=60))
def test_no_page_upsets_a_reader(lines: list[tuple[bytes, bytes]], more: bytes) -> None:
    body = b"\n".join([*(name + rest for name, rest in lines), more])
    server_by_metrics(body)
    for read in METRICS + OBJECTS:
        check(read, body)


def check(read: Read, body: bytes) -> None:
    """Either a clear error, or values that a report may have and a capacity can be made of."""
    try:
        told = read(body)
    except PollError:
        return
    report = NodeReport(node="n", sampled_at_s=0.0, kind="k", **told)
    learnt_capacity(report, Capacity())
    for name in ("running", "waiting", "cached_hits", "cached_queries"):
        value = getattr(report, name)
        assert value is None or (isinstance(value, int) and value >= 0)
    for value in (report.utilization, report.cached_share):
        assert value is None or 0 <= value <= 1


def test_servers_are_known_by_what_they_write() -> None:
    assert server_by_models(owned("vllm")) is VLLM_SERVER
    assert server_by_models(owned("sglang")) is SGLANG_SERVER
    assert server_by_models(owned("llamacpp")) is LLAMACPP_SERVER
    assert server_by_models(owned("library")) is OLLAMA
    assert server_by_models(owned("openai")) is server_by_models(b"<html>") is server_by_models(b"{}") is None
    assert server_by_metrics(VLLM) is VLLM_SERVER
    assert server_by_metrics(SGLANG) is SGLANG_SERVER
    assert server_by_metrics(LLAMACPP) is LLAMACPP_SERVER
    assert server_by_metrics(b"fairlead_requests 1\n") is None
    assert server_by_metrics(b"# HELP proxied_requests Sent to vllm: all\nproxied_requests 1\n") is None


def test_what_is_declared_goes_before_what_is_learnt() -> None:
    report = NodeReport(node="n", sampled_at_s=0.0, kind="vllm", slots=4, tokens=32000)
    assert learnt_capacity(report, Capacity()) == Capacity(slots=4, tokens=32000)
    declared = Capacity(slots=16, memory_bytes=7)
    assert learnt_capacity(report, declared) == Capacity(slots=16, tokens=32000, memory_bytes=7)
    nothing = NodeReport(node="n", sampled_at_s=0.0, kind="ollama")
    assert learnt_capacity(nothing, declared) == declared
