"""What a file may say of faults: each wrong value is refused with its place and what would be right."""

import pytest

from fairlead.config import loads
from fairlead.errors import ConfigError

NODES = "nodes: [{kind: simulated}]\n"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("hedging: {quantile: 95}", ("hedging.quantile", "above 0 and below 1")),
        ("hedging: {quantile: 1}", ("hedging.quantile", "above 0 and below 1")),
        ("hedging: {budget: 1.5}", ("hedging.budget", "from 0 to 1")),
        ("degradation: {steps: [hedgin]}", ("degradation.steps", "hedging")),
        ("degradation: {steps: [queue, queue]}", ("degradation.steps", "queue is named twice")),
        ("degradation: {begin_at: 2}", ("degradation.begin_at", "from 0 to 1")),
        ("health: {max_error_rate: -1}", ("health.max_error_rate", "from 0 to 1")),
        ("health: {check: {interval_s: 0}}", ("health.check.interval_s", "above 0")),
        ("rescue: other_model", ("rescue", "same_model")),
        ("timeouts: {headers_s: 0}", ("timeouts.headers_s", "above 0")),
    ],
)
def test_what_cannot_be_is_refused(written: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(NODES + written)
    for word in words:
        assert word in str(caught.value)


def test_a_continuation_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="trailing"):
        loads("nodes: [{url: 'http://127.0.0.1:1/v1', continuation: trail}]")
