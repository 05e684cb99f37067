"""What goes on as it was when a configuration takes the place of another, and what a drill leaves as it found it."""

import hashlib
import logging

from click.testing import CliRunner
from gateway_shared import CHAT, ask, chat, gateway, node, run

from fairlead.cli import cli
from fairlead.gateway.guard import Caller, Guard, Key
from fairlead.gateway.wishes import WishReader
from fairlead.routing import RoutingSettings
from fairlead.testing import FakeProvider

CALLER = Caller("alice", None, is_admin=False)


def key(name: str, **more: int) -> Key:
    return Key(name, hashlib.sha256(name.encode()).digest(), **more)  # type: ignore[arg-type]  # limits are numbers


def test_a_key_that_did_not_change_goes_on_with_its_counts_and_one_that_did_begins_anew() -> None:
    same, other = key("same", requests_per_minute=5), key("other", requests_per_minute=5)
    before = Guard([same, other], ["here"], [])
    changed = key("other", requests_per_minute=9)
    after = Guard([same, changed], ["here"], [], before=before)
    assert after.known(same) is before.known(same) is not None
    assert after.known(changed) is not None
    assert after.known(changed) is not before.known(other)
    assert after.known(other) is None


def test_strategies_asked_for_by_name_are_made_anew_with_other_settings_only() -> None:
    settings = RoutingSettings()
    reader = WishReader(settings)

    def made() -> object:
        return reader.read({b"x-fairlead-strategy": b"hybrid"}, CALLER).strategy

    first = made()
    reader.use(settings)
    assert made() is first
    reader.use(RoutingSettings(exploration=0.0))
    assert made() is not first


def test_a_gateway_probes_early_where_all_circuits_are_open() -> None:
    async def main() -> None:
        async with FakeProvider() as one, gateway(node(one)) as running:
            assert running.orchestrator.fleet.settings.probes_when_needed

    run(main())


def test_an_answer_says_what_was_given_up_for_it() -> None:
    async def main() -> None:
        async with FakeProvider() as one, gateway(node(one)) as running:
            orchestrator = running.orchestrator
            assert "x-fairlead-degraded" not in (await ask(running, CHAT, chat("hello"))).headers
            orchestrator.degrading.climb(0.96, orchestrator.clock())
            cut = await ask(running, CHAT, chat("hello"))
            assert cut.headers["x-fairlead-degraded"] == "shorter_answers"
            assert one.requests[-1].asked.fields["max_tokens"] == 512
            own = await ask(running, CHAT, chat("hello") | {"max_tokens": 3})
            assert "x-fairlead-degraded" not in own.headers

    run(main())


def test_a_drill_leaves_the_log_as_it_found_it() -> None:
    logger = logging.getLogger("fairlead")
    before = logger.level
    done = CliRunner().invoke(cli, ["drill", "--only", "wrong_key"])
    assert done.exit_code == 0, done.output
    assert logger.level == before
