"""Who may ask what, and what never leaves the gateway."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from gateway_shared import (
    CHAT,
    O_CHAT,
    Answer,
    ask,
    caller,
    chat,
    config,
    gateway,
    node,
    raw,
    run,
    until,
)

from fairlead.config import KeyConfig, ModelConfig, Secret
from fairlead.domain import Price
from fairlead.errors import ConfigError
from fairlead.gateway import RunningGateway, serve
from fairlead.gateway.serving import check_exposure
from fairlead.testing.provider import FakeProvider, Reply

PAGE = "https://chat.example.org"
ALICE = KeyConfig(name="alice", key=Secret("fl-alice-key"))
BOB = KeyConfig(name="bob", key_sha256=hashlib.sha256(b"fl-bob-key").hexdigest(), max_cost_usd=0.001)
OPS = KeyConfig(name="ops", key=Secret("fl-ops-key"), admin=True)
KEYS = (ALICE, BOB, OPS)
GETS = ("/v1/models", "/api/tags", "/metrics", "/v1/decisions/x", "/admin/fleet", "/")


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def code(answer: Answer) -> Any:
    return answer.json["error"]["code"]


@pytest.mark.parametrize("host", ["evil.example.org", "127.0.0.1.evil.org", "", "127.0.0.1:1", "localhost."])
def test_a_foreign_host_is_refused_as_dns_rebinding_would_have_it(host: str) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            for path in GETS:
                answer = await ask(running, path, headers={"host": host})
                assert answer.status == 421, path
            answer = await ask(running, CHAT, chat(), headers={"host": host})
            assert (answer.status, code(answer)) == (421, "unknown_host")
            ollama = await ask(running, O_CHAT, chat(), headers={"host": host})
            assert list(ollama.json) == ["error"]
            assert isinstance(ollama.json["error"], str)
            assert provider.attempts == 0

    run(main())


def test_hosts_that_are_ours_or_allowed_pass() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), allow_hosts=("llm.lan",)) as running:
            port = running.port
            for host in ("127.0.0.1", f"localhost:{port}", "LOCALHOST", f"[::1]:{port}", "llm.lan", f"LLM.lan:{port}"):
                assert (await ask(running, "/v1/models", headers={"host": host})).status == 200, host
            assert (await ask(running, "/v1/models", headers={"host": "other.lan"})).status == 421
        async with FakeProvider() as provider, gateway(node(provider), allow_hosts=("*",)) as running:
            assert (await ask(running, "/v1/models", headers={"host": "any.where"})).status == 200

    run(main())


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "http://localhost:3000"])
def test_a_foreign_page_is_refused(origin: str) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), allow_origins=(PAGE,)) as running:
            for method, path, body in (("POST", CHAT, chat()), ("GET", "/v1/models", None), ("OPTIONS", CHAT, None)):
                answer = await ask(running, path, body, method=method, headers={"origin": origin})
                assert (answer.status, code(answer)) == (403, "foreign_origin")
                assert "access-control-allow-origin" not in answer.headers
            assert provider.attempts == 0

    run(main())


@pytest.mark.parametrize("keys", [(), KEYS])
def test_an_allowed_page_can_use_everything(keys: tuple[KeyConfig, ...]) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), allow_origins=(PAGE,), keys=keys) as running:
            preflight = {"origin": PAGE, "access-control-request-method": "POST"}  # browsers send no key with it
            answer = await ask(running, CHAT, method="OPTIONS", headers=preflight)
            assert answer.status == 204
            assert "authorization" in answer.headers["access-control-allow-headers"]
            headers = {"origin": PAGE} | bearer("fl-ops-key")
            provider.script(Reply(), Reply(), Reply(status=400))
            answers = [
                await ask(running, CHAT, chat(), headers=headers),
                await ask(running, CHAT, chat(stream=True), headers=headers),
                await ask(running, CHAT, chat(), headers=headers),
                await ask(running, CHAT, b"{", headers=headers),
                await ask(running, "/v1/models", headers=headers),
                await ask(running, "/v1/models/none", headers=headers),
                await ask(running, "/v1/nothing", headers=headers),
                await ask(running, "/api/tags", headers=headers),
            ]
            assert [answer.status for answer in answers] == [200, 200, 400, 400, 200, 404, 404, 200]
            for answer in answers:
                assert answer.headers["access-control-allow-origin"] == PAGE
                assert answer.headers["vary"] == "origin"

    run(main())


def test_keys() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), keys=KEYS) as running:
            wrong: list[dict[str, str]] = [
                {},
                bearer("wrong"),
                bearer(""),
                {"authorization": "Basic fl-alice-key"},
                {"x-api-key": "fl-alice-ke"},
                {"x-api-key": BOB.key_sha256 or ""},
            ]
            for headers in wrong:
                for path in GETS:
                    assert (await ask(running, path, headers=headers)).status == 401
                answer = await ask(running, CHAT, chat(), headers=headers)
                assert answer.status == 401
                assert code(answer) in ("missing_api_key", "invalid_api_key")
                assert (await ask(running, O_CHAT, chat(), headers=headers)).json["error"]
            assert provider.attempts == 0
            for headers in (
                bearer("fl-alice-key"),
                {"authorization": "bearer fl-bob-key"},
                {"x-api-key": "fl-ops-key"},
            ):
                assert (await ask(running, CHAT, chat(), headers=headers)).status == 200
            for path in ("/health", "/ready"):
                assert (await ask(running, path)).status == 200

    run(main())


def test_a_callers_key_never_reaches_a_node_and_a_nodes_key_does() -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            own = node(provider, api_key=Secret("sk-node"), headers={"X-Team": Secret("blue")})
            async with gateway(own, keys=KEYS) as running:
                for path in (CHAT, "/v1/messages", "/v1/responses"):
                    extra = {"cookie": "a=b", "x-forwarded-for": "1.2.3.4", "proxy-authorization": "Basic x"}
                    assert (await ask(running, path, chat(), headers=bearer("fl-alice-key") | extra)).status == 200
                    seen = provider.requests[-1].headers
                    assert seen["authorization"] == "Bearer sk-node"
                    assert seen["x-team"] == "blue"
                    assert "fl-alice-key" not in str(seen)
                    assert not {"cookie", "x-forwarded-for", "proxy-authorization", "x-api-key"} & set(seen)
                    assert seen["host"] == f"127.0.0.1:{provider.port}"

    run(main())


def test_a_decision_is_shown_to_the_key_that_made_it_and_to_admins() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), keys=KEYS) as running:
            headers = bearer("fl-alice-key") | {"x-fairlead-tenant": "bob"}
            made = await ask(running, CHAT, chat(), headers=headers)
            path = f"/v1/decisions/{made.headers['x-fairlead-decision']}"
            shown = {
                key: (await ask(running, path, headers=bearer(f"fl-{key}-key"))).status for key in ("alice", "ops")
            }
            assert shown == {"alice": 200, "ops": 200}
            hidden = await ask(running, path, headers=bearer("fl-bob-key"))
            never = await ask(running, "/v1/decisions/never-made", headers=bearer("fl-bob-key"))
            assert hidden.status == never.status == 404
            assert code(hidden) == code(never)

    run(main())


def test_the_cost_header_cannot_exceed_what_its_key_may_spend() -> None:
    price = Price(input_usd_per_mtok=10.0, output_usd_per_mtok=10.0)  # 1,000 tokens are one cent

    async def main() -> None:
        async with FakeProvider() as provider:
            models = (ModelConfig(name="m", price=price),)
            async with gateway(node(provider), keys=KEYS, models=models) as running:
                for headers, status in (
                    (bearer("fl-alice-key"), 200),
                    (bearer("fl-alice-key") | {"x-fairlead-max-cost-usd": "0.002"}, 400),
                    (bearer("fl-bob-key"), 400),
                    (bearer("fl-bob-key") | {"x-fairlead-max-cost-usd": "99"}, 400),
                ):
                    answer = await ask(running, CHAT, chat(max_tokens=1000), headers=headers)
                    assert answer.status == status
                    if status == 400:
                        assert "too expensive" in answer.json["error"]["message"]

    run(main())


ADMIN: tuple[tuple[str, str, dict[str, str] | None, int], ...] = (
    ("GET", "/admin/fleet", None, 200),
    ("POST", "/admin/strategy", {"strategy": "random"}, 200),
    ("POST", "/admin/strategy", {"strategy": "nonsense"}, 400),
    ("POST", "/admin/strategy", {"strategie": "random"}, 400),
    ("POST", "/admin/nodes/a/drain", {}, 200),
    ("POST", "/admin/nodes/a/undrain", {}, 200),
    ("POST", "/admin/nodes/a/recover", {}, 200),
    ("POST", "/admin/nodes/none/drain", {}, 404),
    ("POST", "/admin/reset", {}, 200),
)


def test_admin_paths_need_an_admin_key_or_the_local_socket(tmp_path: Path) -> None:
    async def main() -> None:
        unix = str(tmp_path / "admin.sock")
        async with FakeProvider() as provider, gateway(node(provider), keys=KEYS, unix_socket=unix) as running:
            for method, path, body, status in ADMIN:
                refused = await ask(running, path, body, method=method, headers=bearer("fl-alice-key"))
                assert (refused.status, code(refused)) == (403, "admin_only")
                allowed = await ask(running, path, body, method=method, headers=bearer("fl-ops-key"))
                assert allowed.status == status
                local = await ask(running, path, body, method=method, unix=unix, headers={"host": "any"})
                assert local.status == status
            assert Path(unix).stat().st_mode & 0o777 == 0o600
            assert (await ask(running, CHAT, chat(), unix=unix)).status == 200
        assert not Path(unix).exists()

    run(main())


def test_draining_a_node_sends_its_tasks_elsewhere() -> None:
    async def main() -> None:
        async with FakeProvider() as one, FakeProvider() as two, gateway(node(one, "a"), node(two, "b")) as running:
            assert (await ask(running, "/admin/nodes/a/drain", {})).status == 200
            for _ in range(6):
                assert (await ask(running, CHAT, chat())).headers["x-fairlead-node"] == "b"
            await ask(running, "/admin/nodes/b/drain", {})
            answer = await ask(running, CHAT, chat())
            assert answer.status == 503
            assert "draining" in answer.json["error"]["message"]

    run(main())


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0"])
def test_listening_beyond_this_machine_needs_keys(listen: str) -> None:
    with pytest.raises(ConfigError, match="fairlead key new"):
        check_exposure(config(listen=listen))
    with pytest.raises(ConfigError, match="fairlead key new"):
        serve(config(listen=listen))
    check_exposure(config(listen=listen, keys=KEYS))
    check_exposure(config(listen=listen, insecure=True))
    check_exposure(config(listen="127.0.0.1:0"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_nodes_redirect_is_not_followed_and_its_key_goes_nowhere(status: int) -> None:
    async def main() -> None:
        async with FakeProvider() as thief, FakeProvider() as provider:
            provider.default = Reply(status=status, headers={"location": f"{thief.url}/chat/completions"})
            async with gateway(node(provider, api_key=Secret("sk-node"))) as running:
                answer = await ask(running, CHAT, chat())
                assert answer.status == 502
                assert "redirect" in answer.json["error"]["message"]
                assert (await ask(running, "/v1/messages", chat())).status in (502, 503)
                assert provider.attempts
                assert thief.accepted == 0

    run(main())


def test_a_gateway_among_its_own_nodes_makes_no_loop() -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            settings = config(node(provider, "self"))
            first = RunningGateway(settings)
            await first.start()
            try:
                # The node's address becomes known only now: point it at the gateway itself.
                pool = first.orchestrator.targets["self"].backend._pool  # type: ignore[attr-defined]
                pool._port = first.port
                for path in (CHAT, O_CHAT):
                    before = first.orchestrator._submitted
                    answer = await ask(first, path, chat(), headers={"host": "localhost"})
                    assert answer.status in (508, 421)
                    assert first.orchestrator._submitted - before <= 4, "no storm"
            finally:
                await first.stop(0.0)

    run(main())


def test_a_loop_over_two_gateways_is_refused() -> None:
    async def main() -> None:
        async with FakeProvider() as placeholder:
            anyone = ("*",)
            one = RunningGateway(config(node(placeholder, "two"), allow_hosts=anyone))
            two = RunningGateway(config(node(placeholder, "one"), allow_hosts=anyone))
            await one.start()
            await two.start()
            try:
                one.orchestrator.targets["two"].backend._pool._port = two.port  # type: ignore[attr-defined]
                two.orchestrator.targets["one"].backend._pool._port = one.port  # type: ignore[attr-defined]
                answer = await ask(one, CHAT, chat())
                assert (answer.status, code(answer)) == (508, "loop_detected")
                assert one.orchestrator._submitted + two.orchestrator._submitted <= 12
            finally:
                await one.stop(0.0)
                await two.stop(0.0)

    run(main())


BAD_PATHS = (
    "/v1/a%20b",
    "/v1/x%0d%0ahost:%20evil",
    "/v1/%C3%A4",
    "/v1/../admin/fleet",
    "/v1/%2e%2e/api/delete",
    "/v1/x/..%2f..%2fapi/delete",
    "/v1/a%3fb=c",
    "/v1/a%23b",
    "/v1/a%00",
    "/v1//evil.example.org/x",
    "/v1/a\\b",
)


@pytest.mark.parametrize("path", BAD_PATHS)
def test_no_path_leads_a_node_astray(path: str) -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            answer = await ask(running, path, chat())
            assert answer.status in (400, 404)
            assert answer.json["error"]["message"]
            assert provider.attempts == 0

    run(main())


def test_secrets_and_prompts_are_never_logged_nor_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    prompt = "PRIVATE-PROMPT-7391"
    told: list[bytes] = []

    async def main() -> None:
        quoting = json.dumps({"error": {"message": f"cannot parse: {prompt}"}}).encode()
        async with FakeProvider() as bad, FakeProvider() as good:
            bad.default = Reply(status=401, body=quoting)
            nodes = node(bad, "bad", api_key=Secret("sk-node-1")), node(good, "good", api_key=Secret("sk-node-2"))
            async with gateway(*nodes, keys=KEYS, strategy="round_robin") as running:
                headers = bearer("fl-alice-key")
                for stream in (False, True):
                    assert (await ask(running, CHAT, chat(prompt, stream=stream), headers=headers)).status == 200
                good.default = Reply(status=500, body=b"boom")
                for number in range(8):
                    answer = await ask(running, CHAT, chat(prompt), headers=headers)
                    told.append(answer.body)
                    told.append(json.dumps(answer.headers).encode())
                    assert answer.status >= 500 or answer.status == 401, number
                told.append((await ask(running, CHAT, chat(prompt), headers=bearer("fl-wrong-key"))).body)
                told.append((await ask(running, "/metrics", headers=bearer("fl-ops-key"))).body)
                told.append((await ask(running, "/admin/fleet", headers=bearer("fl-ops-key"))).body)
                told.append(await raw(running, f"GET / HTTP/1.1\r\nx-y: {prompt}\r\nbad\x00: 1\r\n\r\n".encode()))
                told.append(
                    await raw(
                        running,
                        b'POST /v1/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{"',
                    )
                )

    run(main())
    text = caplog.text + b"".join(told).decode()
    assert "circuit" in caplog.text
    for secret in (prompt, "sk-node", "fl-alice-key", "fl-wrong-key", "fl-ops-key", "boom-secret"):
        assert secret not in text, secret


def test_node_answers_cannot_forge_the_gateways_own_headers() -> None:
    async def main() -> None:
        forged = {
            "x-fairlead-node": "forged",
            "set-cookie": "a=b",
            "access-control-allow-origin": "*",
            "x-ratelimit-remaining": "5",
            "server": "evil",
        }
        async with FakeProvider(default=Reply(headers=forged)) as provider, gateway(node(provider)) as running:
            for stream in (False, True):
                async with caller(running) as one:
                    one.send("POST", CHAT, chat(stream=stream))
                    headers = (await one.answer()).headers
                assert headers["x-fairlead-node"] == "a"
                assert headers["server"] == "fairlead"
                assert headers["x-ratelimit-remaining"] == "5"
                assert "set-cookie" not in headers
                assert "access-control-allow-origin" not in headers
            await until(lambda: len(running._server.connections) == 0)

    run(main())
