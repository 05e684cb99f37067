"""What `fairlead models` lists, fills in, and leaves to be filled in."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import fairlead.cli.fleet_models
from fairlead.cli.models import models
from fairlead.cli.models_yaml import Entry, block
from fairlead.config import NodeConfig, load, loads
from fairlead.config.known_models import known, known_models
from fairlead.discovery import ModelSeen
from fairlead.domain import Model, Price, TaskCategory
from fairlead.errors import UnknownModelError

FLEET = """\
nodes:
  - {name: cloud, url: https://api.example.org/v1, models: [gpt-4o, mine]}
  - name: box
    url: http://127.0.0.1:11434
    models: [llama3.2:3b, {name: qwen3:8b, as: gpt-4o-mini}, deepseek-r1, gpt-4.1]
models:
  - {name: mine, context_tokens: 1000, skill: {coding: 0.5}}
  - {name: gpt-4o, price: {input_usd_per_mtok: 9, output_usd_per_mtok: 9}}
"""
NODES = "nodes: [{url: http://a}]\n"


def run(*args: object) -> Result:
    return CliRunner().invoke(models, [str(arg) for arg in args])


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[ModelSeen, ...] | str]:
    """What nodes that are asked tell, or why they do not."""
    answers: dict[str, tuple[ModelSeen, ...] | str] = {}

    async def ask(nodes: list[NodeConfig]) -> tuple[dict[str, Any], dict[str, Any]]:
        said = {node.name: answers[node.name] for node in nodes}
        silent = {name: one for name, one in said.items() if isinstance(one, str)}
        return {name: one for name, one in said.items() if name not in silent}, silent

    monkeypatch.setattr(fairlead.cli.fleet_models, "ask_nodes", ask)
    return answers


class TestTable:
    def test_all(self) -> None:
        shown = run().output
        assert all(row.name in shown for row in known_models())
        assert "As of 2026-11" in shown
        assert "Prices change" in shown

    def test_parts_of_names_and_whole_ones(self) -> None:
        shown = run("CODER", "openai/gpt-4o-2024-08-06").output
        names = [line.split()[0] for line in shown.partition("\n\n")[0].splitlines()[1:]]
        assert "gpt-4o" in names
        assert "qwen2.5-coder:7b" in names
        assert all("coder" in name or name == "gpt-4o" for name in names)

    def test_for_machines(self) -> None:
        told = json.loads(run("--json", "gpt-4o-mini").output)
        assert told["as_of"] == "2026-11"
        (row,) = told["models"]
        assert row["price"] == {"input_usd_per_mtok": 0.15, "output_usd_per_mtok": 0.6}
        assert row["capabilities"] == ["json", "logprobs", "tools", "vision"]

    def test_nothing_like_it(self) -> None:
        error = run("qwen2.5-codr:7b").exception
        assert isinstance(error, UnknownModelError)
        assert "did you mean qwen2.5-coder:7b?" in str(error)


class TestPaste:
    def test_it_says_what_the_table_says(self) -> None:
        text = run("--yaml", "openai/gpt-4o", "qwen2.5-coder:7b-instruct-q8_0").output
        said = [one.to_model() for one in loads(NODES + text).models]
        assert said == [known("openai/gpt-4o"), known("qwen2.5-coder:7b-instruct-q8_0")]
        assert "context_tokens: 32768  # the most it can take" in text
        assert "# price: open weights" in text

    def test_what_is_not_certain_is_left_open(self) -> None:
        text = run("--yaml", "deepseek-r1", "nobody-knows", "deepseek-r1").output
        assert [one.to_model() for one in loads(NODES + text).models] == [Model("deepseek-r1"), Model("nobody-knows")]
        assert "# could be deepseek-r1:8b or deepseek-r1:671b: fill in what you know" in text
        assert "# not in the table" in text

    def test_without_names(self) -> None:
        assert run("--yaml").exit_code == 2
        assert run("--yaml", "--json", "x").exit_code == 2

    @given(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn", "Co")), min_size=1)
        | st.sampled_from(["null", "Yes", "1.5", "12:30", "a: b", "- a", "${HOME}", "$${x}", "a #b", "~", "x:"]),
        st.builds(
            Model,
            st.just(""),
            st.none() | st.frozensets(st.sampled_from(["tools", "vision", "a b", "null"])),
            st.none() | st.integers(1, 10**8),
            st.none() | st.builds(Price, st.floats(0, 1e6), st.floats(0, 1e6)),
            st.dictionaries(st.sampled_from(TaskCategory), st.floats(0, 1)),
        ),
        st.sampled_from(["", "it is\nnot # there"]),
    )
    def test_a_block_reads_back_as_it_was(self, name: str, model: Model, note: str) -> None:
        text = block([Entry(name, model, note)])
        (said,) = loads(NODES + text, env={}).models
        assert said.name == name
        assert said.to_model() == Model(name, model.capabilities, model.context_tokens, model.price, model.skill)


class TestFleet:
    def test_where_each_part_comes_from(self, fleet: Path) -> None:
        told = {one["name"]: one for one in json.loads(run("-c", fleet, "--json").output)["models"]}
        assert told["gpt-4o"]["price"] == {
            "value": {"input_usd_per_mtok": 9, "output_usd_per_mtok": 9}, "source": "file",
        }  # fmt: skip
        assert told["gpt-4o"]["context_tokens"] == {"value": 128000, "source": "table"}
        assert told["mine"]["context_tokens"] == {"value": 1000, "source": "file"}
        assert told["mine"]["capabilities"] == {"value": None, "source": "unknown"}
        assert told["llama3.2:3b"]["nodes"] == ["box"]
        assert told["llama3.2:3b"]["price"]["source"] == "unknown"

    def test_a_name_of_the_cloud_at_home_is_another_model(self, fleet: Path) -> None:
        told = {one["name"]: one for one in json.loads(run("-c", fleet, "--json").output)["models"]}
        assert told["gpt-4o-mini"]["price"]["value"] is None
        assert told["gpt-4o-mini"]["capabilities"]["value"] == ["json", "logprobs", "tools"]
        assert told["gpt-4.1"]["price"]["value"] is None
        assert told["gpt-4.1"]["note"] == "not in the table"

    def test_for_people(self, fleet: Path) -> None:
        lines = run("-c", fleet).output.splitlines()
        (row,) = [line for line in lines if line.startswith("deepseek-r1")]
        assert row.split("  ")[-1].strip() == "could be deepseek-r1:8b or deepseek-r1:671b"
        assert "9 / 9" in next(line for line in lines if line.startswith("gpt-4o "))
        assert "128000 *" in next(line for line in lines if line.startswith("gpt-4o "))
        assert any("rules nothing out" in line for line in lines)

    def test_a_part_of_it(self, fleet: Path) -> None:
        assert [one["name"] for one in json.loads(run("-c", fleet, "--json", "LLAMA").output)["models"]] == [
            "llama3.2:3b"
        ]
        assert isinstance(run("-c", fleet, "nothing").exception, UnknownModelError)

    def test_the_block_keeps_what_the_file_says(self, fleet: Path) -> None:
        text = run("-c", fleet, "--yaml").output
        said = {one.name: one for one in loads(FLEET.partition("models:\n  - {name: mine")[0] + text).models}
        for one in load(fleet).models:
            for field in ("context_tokens", "capabilities", "price", "skill"):
                if getattr(one, field):
                    assert getattr(said[one.name], field) == getattr(one, field)
        assert set(said) == {"gpt-4o", "mine", "llama3.2:3b", "gpt-4o-mini", "deepseek-r1", "gpt-4.1"}

    def test_nodes_are_asked_and_go_before_the_table(
        self, tmp_path: Path, asked: dict[str, tuple[ModelSeen, ...] | str]
    ) -> None:
        path = tmp_path / "f.yaml"
        path.write_text("nodes: [{name: box, url: 'http://127.0.0.1:11434'}, {name: dead, url: 'http://127.0.0.1:1'}]")
        asked |= {"box": (ModelSeen("qwen3:8b", 4096), ModelSeen("mine")), "dead": "nothing listens there"}
        told = json.loads(run("-c", path, "--json").output)
        assert told["silent"] == {"dead": "nothing listens there"}
        first, second = told["models"]
        assert first["context_tokens"] == {"value": 4096, "source": "node"}
        assert first["capabilities"]["source"] == "table"
        assert second["note"] == "not in the table"
        shown = run("-c", path).output
        assert "dead tells no models: nothing listens there" in shown
        assert "4096 +" in shown
        text = CliRunner().invoke(models, ["-c", str(path), "--yaml"]).stdout
        assert "context_tokens: 4096\n" in text, "the node knows how much it gives"
