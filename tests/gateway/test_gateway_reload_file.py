"""When the configuration is read again, and what is refused: the last good one is kept, and no secret is told."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway_reload_shared import entry, events, names, serving_file, write
from gateway_shared import CHAT, ask, chat, run, until

from fairlead.config import load
from fairlead.errors import ConfigError
from fairlead.gateway import RunningGateway, reload
from fairlead.gateway.file_watch import FileWatch
from fairlead.testing.provider import FakeProvider

SECRETS = ("sk-Node9Secret8One7", "fl-Caller9Secret8Two7", "Head3r-S3cret-Thr33")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at files often, and take them as settled soon."""
    monkeypatch.setattr(reload, "LOOK_EACH_S", 0.02)
    monkeypatch.setattr(reload, "FileWatch", lambda path: FileWatch(path, 0.06))


# -- what is refused

WRONG: list[tuple[str | None, str]] = [
    (None, "cannot be read"),
    ("", "there are no nodes"),
    ("nodes: [", "fleet.yaml"),
    ("nodes: [{url: http://one/v1, wieght: 2}]", "did you mean"),
    ("nodes: [{name: a, url: http://one/v1, models: [m]}]\nstrategy: nonsense", "nonsense"),
    (f"nodes: [{{name: a, url: http://one/v1, models: [m], api_key: {SECRETS[0]}}}]\nlisten: {SECRETS[0]}", "listen"),
]


@pytest.mark.parametrize(("text", "why"), WRONG)
def test_the_last_good_one_is_kept(path: Path, text: str | None, why: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            write(path, entry(provider, "a"))
            async with serving_file(path) as (running, reloader):
                told, before = events(running), reloader.config
                orchestrator = running.orchestrator
                kept = dict(orchestrator.targets), dict(orchestrator.fleet.nodes), orchestrator.fleet.strategy
                path.unlink() if text is None else path.write_text(text)
                with pytest.raises(ConfigError) as refused:
                    await reloader.reload()
                assert why in str(refused.value)
                assert reloader.config is before
                assert (dict(orchestrator.targets), dict(orchestrator.fleet.nodes), orchestrator.fleet.strategy) == kept
                assert (await ask(running, CHAT, chat())).status == 200
                assert [(one.changes, one.refused) for one in told] == [((), str(refused.value))]
                assert SECRETS[0] not in str(refused.value)

    with caplog.at_level(logging.INFO, "fairlead"):
        run(main())
    assert any(why in line and "last good one" in line for line in caplog.messages)
    assert SECRETS[0] not in caplog.text


def test_secrets_are_in_no_log_event_or_answer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            admin = {"name": "ops", "key": "ops-key-1234", "admin": True}
            write(path, entry(provider, "a"), keys=[admin])
            async with serving_file(path) as (running, _):
                told = events(running)
                node, caller_key, header = SECRETS
                write(
                    path,
                    entry(provider, "a", api_key=node, headers={"x-token": header}),
                    keys=[admin, {"name": "bob", "key": caller_key}],
                )
                key = {"authorization": "Bearer ops-key-1234"}
                for body in ({"dry_run": True}, {}, {"dry_run": True}):
                    answer = await ask(running, "/admin/reload", body, headers=key)
                    assert answer.status == 200
                    assert not any(secret in answer.body.decode() for secret in SECRETS)
                assert len(told) == 1
                assert not any(secret in repr(told) for secret in SECRETS)

    with caplog.at_level(logging.DEBUG):
        run(main())
    assert "api_key changed" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)


def test_listening_to_everybody_is_never_left_without_keys(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            keys = [{"name": "ann", "key": "first-key"}]
            write(path, entry(provider, "a"), listen="0.0.0.0:0", keys=keys)
            async with serving_file(path) as (running, reloader):
                write(path, entry(provider, "a"), listen="127.0.0.1:0")  # by itself it would be fine
                with pytest.raises(ConfigError, match="no key guards it"):
                    await reloader.reload()
                assert (await ask(running, CHAT, chat())).status == 401

    run(main())


# -- the admin API


def test_an_admin_may_look_first(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as first, FakeProvider() as second:
            write(path, entry(first, "a"))
            async with serving_file(path) as (running, _):
                write(path, entry(first, "a", weight=2), entry(second, "b"))
                looked = await ask(running, "/admin/reload", {"dry_run": True})
                assert names(running) == {"a"}
                done = await ask(running, "/admin/reload", b"")
                assert names(running) == {"a", "b"}
                assert (looked.json["reloaded"], done.json["reloaded"]) == (False, True)
                assert looked.json["changes"] == done.json["changes"]
                assert done.json["changes"][0] == {
                    "line": "~ node a: weight 1 -> 2", "verb": "changed", "subject": "node a", "key": "weight",
                    "before": "1", "after": "2", "applies": "now", "needs_restart": False,
                }  # fmt: skip
                assert (await ask(running, "/admin/reload", {})).json == {"reloaded": True, "changes": []}
                path.write_text("nodes: []")
                refused = await ask(running, "/admin/reload", {})
                assert (refused.status, refused.json["error"]["code"]) == (422, "invalid_config")
                assert "there are no nodes" in refused.json["error"]["message"]
                assert (await ask(running, "/admin/reload", {"dryrun": True})).status == 400
                assert (await ask(running, "/admin/reload", method="GET")).status == 405

    run(main())


def test_only_admins_may(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            write(path, entry(provider, "a"), keys=[{"name": "bob", "key": "bobs-key"}])
            async with serving_file(path) as (running, _):
                answer = await ask(running, "/admin/reload", {}, headers={"authorization": "Bearer bobs-key"})
                assert answer.status == 403

    run(main())


def test_without_a_file_there_is_nothing_to_read_again(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            write(path, entry(provider, "a"))
            running = RunningGateway(load(path))
            await running.start()
            try:
                answer = await ask(running, "/admin/reload", {})
                assert (answer.status, running.may_reload) == (422, False)
                assert "without a file" in answer.json["error"]["message"]
            finally:
                await running.stop(0.0)

    run(main())


# -- the file


def replace_by_rename(path: Path, text: str) -> None:
    aside = path.with_suffix(".new")
    aside.write_text(text)
    aside.rename(path)


def swap_links(path: Path, text: str) -> None:
    """Do as Kubernetes does: the file is a link into a folder that is a link, which is swapped."""
    folder = path.parent / f"..{len(list(path.parent.iterdir()))}"
    folder.mkdir()
    (folder / path.name).write_text(text)
    link = path.parent / "..data_tmp"
    link.symlink_to(folder)
    link.rename(path.parent / "..data")
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        path.symlink_to(path.parent / "..data" / path.name)


def write_in_pieces(path: Path, text: str) -> None:
    path.write_text("")
    with path.open("a") as file:
        for start in range(0, len(text), 40):
            file.write(text[start : start + 40])
            file.flush()


@pytest.mark.parametrize("put", [replace_by_rename, swap_links, write_in_pieces])
@pytest.mark.usefixtures("quick")
def test_a_change_of_the_file_is_taken_up(path: Path, put: Callable[[Path, str], None]) -> None:
    async def main() -> None:
        async with FakeProvider() as first, FakeProvider() as second:
            other = path.parent / "other"
            write(other, entry(first, "a"), reload=True)
            put(path, other.read_text())
            async with serving_file(path) as (running, _):
                told = events(running)
                for nodes in ([entry(first, "a"), entry(second, "b")], [entry(second, "b")]):
                    write(other, *nodes, reload=True)
                    put(path, other.read_text())
                    await until(lambda: names(running) == {str(node["name"]) for node in nodes})  # noqa: B023
                assert (await ask(running, CHAT, chat())).status == 200
                assert [one.changes for one in told] == [("+ node b",), ("- node a",)]

    run(main())


@pytest.mark.usefixtures("quick")
def test_a_look_at_a_changed_file_does_not_keep_it_from_being_taken_up(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as first, FakeProvider() as second:
            write(path, entry(first, "a"), reload=True)
            async with serving_file(path) as (running, reloader):
                write(path, entry(second, "b"), reload=True)
                assert await reloader.reload(is_dry_run=True)
                assert names(running) == {"a"}
                await until(lambda: names(running) == {"b"})

    run(main())


@pytest.mark.usefixtures("quick")
def test_a_file_that_was_mended_is_taken_up_after_it_was_refused(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as first, FakeProvider() as second:
            write(path, entry(first, "a"), reload=True)
            async with serving_file(path) as (running, _):
                told = events(running)
                path.write_text("nodes: [{")
                await until(lambda: len(told) == 1)
                path.unlink()
                await until(lambda: len(told) == 2)
                write(path, entry(second, "b"), reload=False)
                await until(lambda: names(running) == {"b"})
                assert [bool(one.refused) for one in told] == [True, True, False]
                write(path, entry(first, "a"))  # from now on it is not looked at
                await asyncio.sleep(0.2)
                assert names(running) == {"b"}

    run(main())


def test_a_change_is_told_of_once_and_not_before_it_has_settled(path: Path) -> None:
    path.write_text("one")
    watch = FileWatch(path, settle_s=0.5)
    assert not watch.has_changed(0.0)
    replace_by_rename(path, "two")
    assert not watch.has_changed(1.0)
    assert watch.is_settling
    with path.open("a") as file:
        file.write("and more")
    assert not watch.has_changed(1.4)
    assert not watch.has_changed(1.8)  # 0.4 s after it was seen to be longer
    assert watch.has_changed(1.9)
    assert not watch.has_changed(9.0)
    path.unlink()
    assert not watch.has_changed(10.0)
    assert watch.has_changed(10.5)
    path.write_text("back")
    watch.taken(watch.mark())  # read meanwhile for another reason
    assert not watch.has_changed(11.0)
    assert not watch.has_changed(12.0)
