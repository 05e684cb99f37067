"""What Prometheus reads: its own parser understands it, and the counts add up to what was asked."""

from collections import Counter

from gateway_shared import CHAT, EMBEDDING, O_CHAT, Answer, ask, chat, gateway, node, run
from prometheus_client.parser import text_string_to_metric_families

from fairlead.domain.rescue import Rescue
from fairlead.gateway import RunningGateway
from fairlead.testing.provider import FakeProvider, Fate, Reply

Samples = dict[str, Counter[tuple[str, ...]]]


async def scrape(running: RunningGateway) -> Samples:
    answer = await ask(running, "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, Counter())[labels] += sample.value  # type: ignore[assignment]  # floats too
    return found


def test_counters_add_up() -> None:
    async def main() -> None:
        async with (
            FakeProvider() as good,
            FakeProvider("ollama", default=Reply(status=500)) as bad,
            gateway(
                node(good, 'quoted "name"\n'), node(bad, "bad"), strategy="round_robin", rescue=Rescue.NONE
            ) as running,
        ):
            answers: list[Answer] = []
            for stream in (True, False) * 6:
                answers.append(await ask(running, CHAT, chat(stream=stream)))
                answers.append(await ask(running, O_CHAT, chat(stream=stream)))
            answers.append(await ask(running, EMBEDDING, {"model": "m", "input": "a"}))
            assert {answer.status for answer in answers} == {200}
            good.default = Reply(status=400)
            assert (await ask(running, CHAT, chat())).status == 400
            good.default = Reply(fate=Fate.CUT)
            assert not (await ask(running, CHAT, chat(stream=True))).is_whole
            assert (await ask(running, CHAT, b"{")).status == 400
            assert (await ask(running, CHAT, chat(model="none"))).status == 404
            samples = await scrape(running)

            requests = samples["fairlead_requests_total"]
            assert requests.total() == len(answers) + 3
            outcomes: Counter[str] = Counter()
            for (_, _, _, outcome), count in requests.items():
                outcomes[outcome] += count
            assert outcomes["success"] == len(answers)
            assert outcomes["caller"] == outcomes["transport"] == 1
            attempts = sum(int(answer.headers["x-fairlead-attempts"]) for answer in answers) + 2
            assert samples["fairlead_attempts_total"].total() == attempts == good.attempts + bad.attempts
            failed = samples["fairlead_failed_attempts_total"]
            assert failed["unavailable", "bad"] == bad.attempts
            assert failed.total() == bad.attempts + 2
            assert samples["fairlead_refused_total"]["400",] == 1
            assert samples["fairlead_events_total"]["circuit_open", "bad"] == 1
            assert samples["fairlead_circuit"]["bad",] == 2
            assert samples["fairlead_in_flight"].total() == 0
            assert samples["fairlead_latency_seconds_count"].total() == len(answers)
            streams = sum("json" not in answer.headers["content-type"].replace("ndjson", "") for answer in answers)
            assert samples["fairlead_first_token_seconds_count"].total() == streams == 12
            tokens = samples["fairlead_tokens_total"]
            said = sum(count for labels, count in tokens.items() if "output" in labels)
            assert said >= 12 * 7 + 12 * 4, "as reported, and counted where a stream reports none"

            await ask(running, "/admin/reset", {})
            assert not (await scrape(running)).get("fairlead_requests_total")

    run(main())


def test_buckets_are_cumulative_and_labels_bounded() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            for number in range(30):
                await ask(running, CHAT, chat(model="m" if number % 2 else f"invented-{number}"))
            samples = await scrape(running)
            buckets = samples["fairlead_latency_seconds_bucket"]
            by_bound = sorted((float(bound), count) for (bound, _, _), count in buckets.items())
            counts = [count for _, count in by_bound]
            assert counts == sorted(counts)
            assert counts[-1] == 15
            models = {labels[1] for labels in samples["fairlead_requests_total"]}
            assert not any("invented" in label for labels in samples["fairlead_requests_total"] for label in labels)
            assert len(models) <= 3

    run(main())
