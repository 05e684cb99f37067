"""A LiteLLM `config.yaml` as a configuration of ours, with a comment for each thing that cannot be carried over.

Keys that stand in the file in the open become `${...}` references, so that no secret is printed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import yaml

from fairlead.config.addresses import host_and_port
from fairlead.config.document import compose
from fairlead.errors import ConfigError

_BASES = {
    "anthropic": "https://api.anthropic.com/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "fireworks_ai": "https://api.fireworks.ai/inference/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "nvidia_nim": "https://integrate.api.nvidia.com/v1",
    "ollama": "http://127.0.0.1:11434",
    "ollama_chat": "http://127.0.0.1:11434",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "together_ai": "https://api.together.xyz/v1",
    "xai": "https://api.x.ai/v1",
}
_NEED_A_BASE = {
    "custom_openai",
    "hosted_vllm",
    "llamafile",
    "lm_studio",
    "openai_like",
    "text-completion-openai",
    "vllm",
}
_STRATEGIES = {
    "simple-shuffle": "random",
    "least-busy": "least_loaded",
    "latency-based-routing": "performance",
    "usage-based-routing": "least_loaded",
    "usage-based-routing-v2": "least_loaded",
    "cost-based-routing": "hybrid",
}
_CARRIED_PARAMS = {
    "model", "api_base", "base_url", "api_key", "custom_llm_provider", "tpm", "weight", "timeout", "stream_timeout",
    "max_parallel_requests", "input_cost_per_token", "output_cost_per_token",
}  # fmt: skip
_CARRIED_SETTINGS = {
    "routing_strategy", "fallbacks", "num_retries", "timeout", "request_timeout", "model_group_alias",
    "allowed_fails", "cooldown_time",
}  # fmt: skip
_NOT_NEEDED = {
    "context_window_fallbacks": "too long a prompt goes to a model with a larger context by itself",
    "retry_after": "Retry-After is obeyed as the node sends it",
    "enable_pre_call_checks": "context length and health are always looked at",
}

Table = dict[str, Any]


def import_litellm(text: str, source: str = "config.yaml") -> str:
    """Return fairlead YAML for a LiteLLM configuration; raises ConfigError where the text is none."""
    compose(text, source)  # says where the YAML is wrong
    try:
        written = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # a tag, a day or a key that is none
        raise ConfigError(f"{source}: cannot be read as plain YAML") from None
    if not isinstance(written, dict) or not isinstance(written.get("model_list"), list):
        raise ConfigError(f"{source}: there is no model_list: this is no LiteLLM configuration")
    return _Import(written).text(source)


class _Import:
    """One run: what was understood gathers in `nodes`, `models` and `rest`, what was not in `lost`."""

    def __init__(self, written: Table) -> None:
        self.lost: list[str] = []
        self._open_keys: dict[str, list[object]] = {}
        self.nodes: dict[tuple[object, ...], Table] = {}
        self.models: dict[str, Table] = {}
        for place, entry in enumerate(written["model_list"]):
            self._deployment(place, _table(entry))
        # router_settings win: they are about routing, litellm_settings hold older spellings of some
        settings = _table(written.get("litellm_settings")) | _table(written.get("router_settings"))
        self.rest = dict(self._settings(settings))
        self.rest |= self._master_key(_table(written.get("general_settings")))
        for section in sorted(written.keys() - _SECTIONS):
            self.lost.append(f"{_plain(section)}: nothing here corresponds to it")

    def text(self, source: str) -> str:
        nodes = list(self.nodes.values())
        names: set[str] = set()
        for node in nodes:
            node["name"] = _free(node["name"], names)
        body: Table = {"nodes": nodes}
        if self.models:
            body["models"] = list(self.models.values())
        body |= self.rest
        head = [f"# From {_plain(source)}, a LiteLLM configuration. Look it through: fairlead check FILE"]
        if self.lost:
            head += ["#", "# Not carried over:", *(f"# - {line}" for line in self.lost)]
        dumped = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=100)
        return "\n".join(head) + "\n\n" + dumped

    def _deployment(self, place: int, entry: Table) -> None:
        where = f"model_list[{place}]"
        params = _table(entry.get("litellm_params"))
        public, model = str(entry.get("model_name") or ""), str(params.get("model") or "")
        if not public or not model or "*" in public + model:
            self.lost.append(f"{where}: needs a model_name and a litellm_params.model, without wildcards")
            return
        provider, own_name = _provider(params, model)
        base = params.get("api_base") or params.get("base_url") or _BASES.get(provider)
        if base is None or (provider not in _BASES and provider not in _NEED_A_BASE):
            reason = "needs an api_base" if provider in _NEED_A_BASE else "is not spoken here"
            self.lost.append(f"{where} ({_plain(public)}): provider {_plain(provider)} {reason}")
            return
        self._node(where, provider, _reference(str(base)), params, {"name": own_name, "as": public})
        self._model(public, params, _table(entry.get("model_info")))
        for key in sorted(params.keys() - _CARRIED_PARAMS):
            self.lost.append(f"{where}.litellm_params.{_plain(key)}: nothing here corresponds to it")

    def _node(self, where: str, provider: str, url: str, params: Table, served: Table) -> None:
        node: Table = {"name": host_and_port(url) or provider, "url": url}
        node["kind"] = "ollama" if provider.startswith("ollama") else "openai"
        node["models"] = []
        if key := self._api_key(where, provider, url, params.get("api_key")):
            node["api_key"] = key
        if _is_positive(params.get("weight")):
            node["weight"] = params["weight"]
        capacity = {"slots": params.get("max_parallel_requests"), "tokens_per_minute": params.get("tpm")}
        if known := {name: int(value) for name, value in capacity.items() if _is_positive(value)}:
            node["capacity"] = known
        timeouts = {"first_token_s": params.get("stream_timeout"), "total_s": params.get("timeout")}
        if limits := {name: value for name, value in timeouts.items() if _is_positive(value)}:
            node["timeouts"] = limits
        # limits and weights belong to one deployment: a shared node would have them once instead of twice
        own = where if "capacity" in node or "weight" in node else ""
        node = self.nodes.setdefault((url, node["kind"], node.get("api_key"), str(node.get("timeouts")), own), node)
        served = served if served["name"] != served["as"] else served["name"]
        if served not in node["models"]:
            node["models"].append(served)

    def _api_key(self, where: str, provider: str, url: str, written: object) -> str | None:
        if isinstance(written, str) and written.startswith("os.environ/"):
            return _reference(written)
        usual = url == _BASES.get(provider)
        if not written:
            # a provider's key is looked up without being asked for, but sent to nobody else
            return f"${{{_variable(provider)}}}" if usual and not provider.startswith("ollama") else None
        base = _variable(provider if usual else host_and_port(url))
        known = self._open_keys.setdefault(base, [])
        if written not in known:
            known.append(written)
        place = known.index(written)
        name = base + (f"_{place + 1}" if place else "")
        self.lost.append(f"{where}: its api_key stands in the file; put it into the environment as {name}")
        return f"${{{name}}}"

    def _model(self, public: str, params: Table, info: Table) -> None:
        known: Table = {}
        context = info.get("max_input_tokens") or info.get("max_tokens")
        if _is_positive(context):
            known["context_tokens"] = int(context)
        costs = {side: params.get(f"{side}_cost_per_token", info.get(f"{side}_cost_per_token")) for side in _SIDES}
        price = {f"{side}_usd_per_mtok": round(cost * 1e6, 6) for side, cost in costs.items() if _is_positive(cost)}
        if price:
            known["price"] = price
        if known:
            self.models[public] = {"name": public} | self.models.get(public, {}) | known

    def _settings(self, settings: Table) -> Iterator[tuple[str, Any]]:
        if strategy := settings.get("routing_strategy"):
            if strategy in _STRATEGIES:
                yield "strategy", _STRATEGIES[strategy]
            else:
                self.lost.append(f"routing_strategy {_plain(strategy)}: there is no such strategy here")
        if aliases := self._aliases(_table(settings.get("model_group_alias"))):
            yield "aliases", aliases
        if fallbacks := self._fallbacks(settings.get("fallbacks"), aliases):
            yield "fallbacks", fallbacks
        if isinstance(settings.get("num_retries"), int):
            yield "retries", {"max_attempts": settings["num_retries"] + 1}
        total = settings.get("timeout", settings.get("request_timeout"))
        if _is_positive(total):
            yield "timeouts", {"total_s": total}
        breaker = {"failure_threshold": settings.get("allowed_fails"), "timeout_s": settings.get("cooldown_time")}
        if known := {name: value for name, value in breaker.items() if _is_positive(value)}:
            yield "circuit_breaker", known
        for key in sorted(settings.keys() - _CARRIED_SETTINGS):
            self.lost.append(f"{_plain(key)}: {_NOT_NEEDED.get(key, 'nothing here corresponds to it')}")

    def _served(self) -> set[str]:
        return {item["as"] if isinstance(item, dict) else item for n in self.nodes.values() for item in n["models"]}

    def _aliases(self, written: Table) -> Table:
        served = self._served()
        targets = {name: _target(target) for name, target in written.items()}
        for name in sorted(name for name, target in targets.items() if target not in served):
            self.lost.append(f"the alias {_plain(name)}: its model was not carried over")
        return {name: target for name, target in targets.items() if target in served}

    def _fallbacks(self, written: object, aliases: Table) -> Table:
        served = self._served()
        result: Table = {}
        for entry in written if isinstance(written, list) else []:
            for name, members in _table(entry).items():
                known = [member for member in members if member in served] if isinstance(members, list) else []
                model = aliases.get(name, name)
                if model in served and known:
                    result[model] = known
                if model not in served or not isinstance(members, list) or len(known) < len(members):
                    self.lost.append(f"fallbacks of {_plain(name)}: some of its models were not carried over")
        return result

    def _master_key(self, general: Table) -> Table:
        key = general.pop("master_key", None)
        for name in sorted(general):
            self.lost.append(f"general_settings.{_plain(name)}: nothing here corresponds to it")
        if not key:
            return {}
        reference = _reference(str(key))
        if not reference.startswith("${"):
            reference = "${LITELLM_MASTER_KEY}"
            self.lost.append("master_key stands in the file; put it into the environment as LITELLM_MASTER_KEY")
        return {"keys": [{"name": "master", "key": reference, "admin": True}]}


_SECTIONS = {"model_list", "router_settings", "litellm_settings", "general_settings"}
_SIDES = ("input", "output")


def _table(value: object) -> Table:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def _target(written: object) -> str:
    return str(_table(written).get("model", "")) if isinstance(written, Mapping) else str(written)


def _provider(params: Table, model: str) -> tuple[str, str]:
    """Split `provider/name`; a name alone is OpenAI's."""
    if provider := params.get("custom_llm_provider"):
        return str(provider), model.removeprefix(f"{provider}/")
    provider, slash, name = model.partition("/")
    return (provider, name) if slash else ("openai", model)


def _variable(owner: str) -> str:
    name = re.sub(r"[^A-Z0-9]+", "_", owner.upper()).strip("_") or "NODE"
    return ("NODE_" if name[0].isdigit() else "") + name + "_API_KEY"


def _reference(text: str) -> str:
    return f"${{{text.removeprefix('os.environ/')}}}" if text.startswith("os.environ/") else text


def _is_positive(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _plain(text: object) -> str:
    """Make a word safe for a comment: one line, not too long."""
    return re.sub(r"[^ -~]+", " ", str(text))[:80]


def _free(name: str, taken: set[str]) -> str:
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}-{count}"
    taken.add(free)
    return free
