"""LiteLLM's configuration in our words."""

import pytest

from fairlead.config import Capacity, Config, NodeKind, NodeTimeouts, Secret, ServedModel, loads
from fairlead.config.litellm import import_litellm
from fairlead.errors import ConfigError

TEXT = """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 100}
    model_info: {max_input_tokens: 128000, input_cost_per_token: 0.0000025, output_cost_per_token: 0.00001}
  - {model_name: mini, litellm_params: {model: gpt-4o-mini}}
  - model_name: llama
    litellm_params: {model: ollama_chat/llama3.2:3b, api_base: http://10.0.0.5:11434, tpm: 1000, weight: 2}
  - model_name: llama
    litellm_params: {model: hosted_vllm/meta/llama, api_base: os.environ/VLLM, stream_timeout: 3,
      max_parallel_requests: 8}
  - {model_name: secret, litellm_params: {model: openai/x, api_base: "http://10.0.0.6:8000/v1", api_key: abc}}
  - {model_name: bedrock, litellm_params: {model: bedrock/x}}
  - {model_name: nobase, litellm_params: {model: hosted_vllm/x}}
  - {model_name: "*", litellm_params: {model: "*"}}
router_settings:
  routing_strategy: least-busy
  num_retries: 2
  timeout: 30
  allowed_fails: 4
  cooldown_time: 20
  fallbacks: [{gpt-4o: [llama, bedrock]}, {four: [mini]}, {bedrock: [mini]}]
  context_window_fallbacks: [{gpt-4o: [llama]}]
  model_group_alias: {gpt-4: gpt-4o, four: {model: llama, hidden: true}, gone: bedrock}
  redis_host: x
litellm_settings: {drop_params: true, num_retries: 9}
general_settings: {master_key: os.environ/MASTER, database_url: x}
environment_variables: {A: b}
"""
ENV = {
    "OPENAI_API_KEY": "openai-key",
    "VLLM": "http://gpu:8000/v1",
    "MASTER": "fl-master",
    "NODE_10_0_0_6_8000_API_KEY": "k",
}


def imported() -> Config:
    return loads(import_litellm(TEXT), env=ENV)


def test_deployments_become_nodes() -> None:
    openai, ollama, vllm, other = imported().nodes
    assert (openai.name, openai.url, openai.api_key) == (
        "api.openai.com",
        "https://api.openai.com/v1",
        Secret("openai-key"),
    )
    assert openai.models == (ServedModel(name="gpt-4o"), ServedModel(name="gpt-4o-mini", public="mini"))
    assert (ollama.kind, ollama.url, ollama.api_key) == (NodeKind.OLLAMA, "http://10.0.0.5:11434", None)
    assert ollama.models == (ServedModel(name="llama3.2:3b", public="llama"),)
    assert (ollama.weight, ollama.capacity) == (2, Capacity(tokens_per_minute=1000))
    assert (vllm.url, vllm.capacity, vllm.timeouts) == (
        "http://gpu:8000/v1",
        Capacity(slots=8),
        NodeTimeouts(first_token_s=3.0),
    )
    assert vllm.api_key is None, "OpenAI's key is for OpenAI alone"
    assert other.api_key == Secret("k")


def test_settings() -> None:
    config = imported()
    assert config.strategy == "least_loaded"
    assert config.aliases == {"gpt-4": "gpt-4o", "four": "llama"}
    assert config.fallbacks == {"gpt-4o": ("llama",), "llama": ("mini",)}
    assert config.retries.max_attempts == 3
    assert config.timeouts.total_s == 30
    assert (config.circuit_breaker.failure_threshold, config.circuit_breaker.timeout_s) == (4, 20)
    (model,) = config.models
    assert (model.context_tokens, model.price and model.price.output_usd_per_mtok) == (128_000, 10)
    (key,) = config.keys
    assert (key.admin, key.key) == (True, Secret("fl-master"))


def test_what_is_lost_is_said_once_each() -> None:
    lines = [line[4:] for line in import_litellm(TEXT).splitlines() if line.startswith("# - ")]
    assert lines == [
        "model_list[0].litellm_params.rpm: nothing here corresponds to it",
        "model_list[4]: its api_key stands in the file; put it into the environment as NODE_10_0_0_6_8000_API_KEY",
        "model_list[5] (bedrock): provider bedrock is not spoken here",
        "model_list[6] (nobase): provider hosted_vllm needs an api_base",
        "model_list[7]: needs a model_name and a litellm_params.model, without wildcards",
        "the alias gone: its model was not carried over",
        "fallbacks of gpt-4o: some of its models were not carried over",
        "fallbacks of bedrock: some of its models were not carried over",
        "context_window_fallbacks: too long a prompt goes to a model with a larger context by itself",
        "drop_params: nothing here corresponds to it",
        "redis_host: nothing here corresponds to it",
        "general_settings.database_url: nothing here corresponds to it",
        "environment_variables: nothing here corresponds to it",
    ]


def test_different_keys_in_the_open_get_different_names() -> None:
    text = import_litellm(
        """
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: one}}
  - {model_name: b, litellm_params: {model: openai/b, api_key: two}}
  - {model_name: c, litellm_params: {model: openai/c, api_key: one}}
"""
    )
    config = loads(text, env={"OPENAI_API_KEY": "1", "OPENAI_API_KEY_2": "2"})
    assert [(node.name, len(node.models or ())) for node in config.nodes] == [
        ("api.openai.com", 2),
        ("api.openai.com-2", 1),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "c.yaml:1: cannot be read as YAML: did not find expected node content"),
        ("a: !!python/object:os.system x", "c.yaml: cannot be read as plain YAML"),
        ("a: 2024-99-99", "c.yaml: cannot be read as plain YAML"),
        ("- a", "c.yaml: there is no model_list: this is no LiteLLM configuration"),
        ("model_list: 3", "c.yaml: there is no model_list: this is no LiteLLM configuration"),
    ],
)
def test_what_is_no_litellm_configuration(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        import_litellm(text, "c.yaml")
    assert str(caught.value) == message


def test_odd_entries_do_no_harm() -> None:
    text = import_litellm("model_list: [1, {}, {model_name: a, litellm_params: 3}]\nrouter_settings: []")
    assert text.count("needs a model_name") == 3
