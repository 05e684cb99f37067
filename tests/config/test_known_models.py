"""The table of known models: its rows are in order, and a name never means a model that it is not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config.known_models import AS_OF, KnownModel, fill, known, known_models, meant_by
from fairlead.domain import Model, Price

CAPABILITIES = frozenset(("tools", "vision", "json", "logprobs"))
NAMES = [row.name for row in known_models()]
OPEN = [row for row in known_models() if row.is_open]
PAID = [row for row in known_models() if not row.is_open]
GPT_4O = Price(2.5, 10.0)


def names_of(name: str, *, open_only: bool = False) -> list[str]:
    return [row.name for row in meant_by(name, open_only=open_only)]


class TestTable:
    def test_it_is_dated_and_large_enough(self) -> None:
        time.strptime(AS_OF, "%Y-%m")
        assert len(known_models()) >= 60
        assert {row.maker for row in known_models()} >= {
            "openai", "anthropic", "google", "mistral", "deepseek", "meta", "qwen", "microsoft", "cohere", "xai",
        }  # fmt: skip

    @pytest.mark.parametrize("row", known_models(), ids=lambda row: row.name)
    def test_a_row(self, row: KnownModel) -> None:
        assert row.name == row.name.strip().lower()
        assert row.capabilities <= CAPABILITIES
        assert 4096 <= row.context_tokens <= 20_000_000
        if row.price is not None:
            assert 0 < row.price.input_usd_per_mtok <= row.price.output_usd_per_mtok < 1000

    def test_names_are_unique_and_no_other_spelling_hides_one(self) -> None:
        assert len(set(NAMES)) == len(NAMES)
        assert not {also.lower() for row in known_models() for also in row.also} & set(NAMES)


class TestNames:
    @pytest.mark.parametrize("row", known_models(), ids=lambda row: row.name)
    def test_each_row_is_found_by_its_own_name_alone(self, row: KnownModel) -> None:
        for name in (row.name, row.name.upper(), f" {row.name} ", f"openrouter/{row.name}"):
            assert meant_by(name) == (row,)

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("openai/gpt-4o", "gpt-4o"),
            ("openrouter/openai/gpt-4o-mini", "gpt-4o-mini"),
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
            ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
            ("vertex_ai/claude-sonnet-4@20250514", "claude-sonnet-4"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("llama3.2", "llama3.2:3b"),
            ("llama3.2:latest", "llama3.2:3b"),
            ("llama3.2:3b-instruct-q4_K_M", "llama3.2:3b"),
            ("gemma3:4b-it-qat", "gemma3:4b"),
            ("phi4:14b-q8_0", "phi4:14b"),
            ("qwen2.5-coder:7b-instruct-fp16", "qwen2.5-coder:7b"),
            ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2.5-coder:7b"),
            ("Qwen/Qwen2.5-Coder-7B-Instruct-AWQ", "qwen2.5-coder:7b"),
            ("Qwen/Qwen2.5-Coder-7B-Instruct-GPTQ-Int4", "qwen2.5-coder:7b"),
            ("mlx-community/Qwen2.5-Coder-7B-Instruct-4bit", "qwen2.5-coder:7b"),
            ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "llama3.2:3b"),
            ("/srv/weights/Qwen2.5-7B-Instruct-Q4_K_M.gguf", "qwen2.5:7b"),
            ("meta-llama/Llama-3.1-8B-Instruct", "llama3.1:8b"),
        ],
    )
    def test_other_ways_to_write_one(self, name: str, meant: str) -> None:
        assert names_of(name) == [meant]

    @pytest.mark.parametrize(
        "name",
        [
            "", "/", "auto", "gpt", "gpt-4o-audio-preview", "gpt-4o-latest", "gpt-4o-q4_0", "gpt-5-pro", "o1-preview",
            "anthropic/gpt-4o", "me/gpt-4o", "ollama/gpt-4o", "gpt-4o:latest", "bartowski/gpt-4o", "claude",
            "someone/llama3.2:3b", "llama3.2:3b-text-q4_0", "llama3.2:3b-2024-08-06", "llama3.1:8b-base",
            "meta-llama/Llama-3.1-8B", "qwen2.5-coder:7b-mine", "gpt-oss:120b-cloud", "mistral:7b-instruct-v0.2-q4_0",
            "mistral-large-latest", "qwen", "Qwen/Llama-3.1-8B-Instruct",
        ],
    )  # fmt: skip
    def test_others_are_not_guessed(self, name: str) -> None:
        assert names_of(name) == []
        assert known(name) is None

    def test_what_could_be_two_is_neither(self) -> None:
        assert names_of("deepseek-r1:latest") == ["deepseek-r1:8b", "deepseek-r1:671b"]
        assert names_of("deepseek/deepseek-r1") == ["deepseek-r1:8b", "deepseek-r1:671b"]
        assert known("deepseek-r1") is None
        assert known("command-r") is None

    def test_where_only_open_weights_can_be_served(self) -> None:
        assert names_of("gpt-4o", open_only=True) == []
        assert names_of("command-r", open_only=True) == ["command-r:35b"]
        assert known("qwen3:8b", open_only=True) is not None

    @given(st.text(max_size=40) | st.sampled_from(NAMES).flatmap(lambda name: st.text(max_size=6).map(name.__add__)))
    def test_no_name_breaks_it_and_the_same_is_always_meant(self, name: str) -> None:
        assert meant_by(name) == meant_by(name)
        model = known(name)
        assert model is None or model.name == name

    @given(
        st.sampled_from(PAID).filter(lambda row: not row.name[-4:].isdigit()),
        st.from_regex(r"-[a-z]{2,9}", fullmatch=True).filter(lambda suffix: suffix not in {"-latest", "-fast"}),
    )
    def test_a_longer_name_is_another_model(self, row: KnownModel, suffix: str) -> None:
        named = names_of(row.name + suffix)
        assert row.name not in named or row.name + suffix in row.also

    @given(st.sampled_from(OPEN), st.sampled_from(["-q4_K_M", "-fp16", "-q8_0", "-instruct-q5_K_S", "-it-qat"]))
    def test_how_weights_are_stored_changes_nothing(self, row: KnownModel, suffix: str) -> None:
        assert meant_by(row.name + suffix) == (row,)

    @given(st.sampled_from(PAID), st.dates().map(lambda day: f"-20{day:%y-%m-%d}"))
    def test_a_date_is_a_snapshot_of_the_same(self, row: KnownModel, date: str) -> None:
        assert meant_by(row.name + date)[0].maker == row.maker
        assert len(meant_by(row.name + date)) == 1


class TestFill:
    def test_only_what_is_missing(self) -> None:
        full = fill(Model("gpt-4o"))
        assert full.price == GPT_4O
        assert full.capabilities == CAPABILITIES
        assert full.context_tokens is None, "how much of it a server gives, the table cannot know"
        own = Model("gpt-4o", frozenset(), 1000, Price(1.0, 1.0))
        assert fill(own) == own
        assert fill(Model("gpt-4o", frozenset({"tools"}))).capabilities == frozenset({"tools"})
        assert fill(Model("gpt-4o", price=Price())).price == Price()

    def test_the_nodes_own_name_decides(self) -> None:
        model = fill(Model("gpt-4o"), "qwen3:8b")
        assert model.price is None
        assert model.name == "gpt-4o"
        assert "vision" not in (model.capabilities or ())
        assert fill(Model("fast"), "openai/gpt-4o").price == GPT_4O

    def test_what_is_not_known_stays_so(self) -> None:
        for name in ("mine", "deepseek-r1"):
            assert fill(Model(name)) == Model(name)
        assert fill(Model("gpt-4o"), open_only=True) == Model("gpt-4o")
