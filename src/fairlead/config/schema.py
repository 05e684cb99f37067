"""The configuration as types that cannot be wrong: what each key means, its default and its range."""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr

from fairlead.admission.config import QueueConfig
from fairlead.balancing.config import LoadBalancerConfig
from fairlead.config.addresses import host_and_port, is_ollama_url, parse_listen, split_url, tidy_url
from fairlead.config.secret import Secret
from fairlead.domain import Capacity, Model, Node, Price, TaskCategory
from fairlead.domain.rescue import Continuation, Rescue
from fairlead.health.config import CircuitBreakerConfig, DegradationConfig, HealthConfig, HedgingConfig
from fairlead.load.config import LoadMeasure, PrefixConfig
from fairlead.routing.config import RoutingConfig
from fairlead.scaling.config import ScalingConfig

Count = Annotated[int, Meta(gt=0)]
Whole = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]

_DERIVED: Any = None  # stands only until __post_init__ has worked out the value


class NodeKind(StrEnum):
    """What a node speaks."""

    OPENAI = "openai"
    OLLAMA = "ollama"
    COMMAND = "command"
    SIMULATED = "simulated"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every part of the configuration is: frozen, and closed to unknown keys."""


class Timeouts(_Part, frozen=True, kw_only=True):
    """How long a node may take."""

    connect_s: Seconds = 2.0
    headers_s: Seconds | None = None
    """Until a stream's status line; None: as long as its first token may take, since llama.cpp sends both together."""
    first_token_s: Seconds = 30.0
    """Until the first piece of a stream."""
    load_s: Seconds = 120.0
    """Added to the two before where the node has to load the model first, as Ollama does."""
    idle_s: Seconds = 20.0
    """Between two pieces of an answer that has begun."""
    total_s: Seconds = 600.0


class NodeTimeouts(_Part, frozen=True, kw_only=True):
    """What one node does differently; None: as everywhere."""

    connect_s: Seconds | None = None
    headers_s: Seconds | None = None
    first_token_s: Seconds | None = None
    load_s: Seconds | None = None
    idle_s: Seconds | None = None
    total_s: Seconds | None = None

    def over(self, common: Timeouts) -> Timeouts:
        """Return the common timeouts with this node's own in their place."""
        own = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(common, **own)


class ModelTimeouts(_Part, frozen=True, kw_only=True):
    """What one model does differently, wherever it is served; None: as its node."""

    headers_s: Seconds | None = None
    first_token_s: Seconds | None = None
    idle_s: Seconds | None = None
    total_s: Seconds | None = None


class ServedModel(_Part, frozen=True, kw_only=True, rename={"public": "as"}):
    """A model that a node serves: written as a name, or as `{name: ..., as: ...}`."""

    name: Text
    """The node's own name for it."""
    public: Text = _DERIVED
    """The name that callers use; the node's own where nothing else is said."""

    def __post_init__(self) -> None:
        if self.public is _DERIVED:
            force_setattr(self, "public", self.name)


class NodeConfig(_Part, frozen=True, kw_only=True):
    """One place where models are served."""

    name: Text = _DERIVED
    """Its `host:port` where not given; the program's name for a command."""
    url: str | None = None
    """The base address: ends in `/v1` for OpenAI, is bare for Ollama."""
    kind: NodeKind = _DERIVED
    """Ollama for port 11434, a command where there is one, otherwise OpenAI."""
    models: tuple[ServedModel, ...] | None = None
    """None: the node is asked. A command and a simulated node cannot be: theirs bears the node's name."""
    api_key: Secret | None = None
    headers: dict[str, Secret] = {}
    """Sent with every request to this node."""
    weight: Annotated[float, Meta(gt=0)] = 1.0
    region: Text | None = None
    failure_domain: Text | None = None
    capacity: Capacity = Capacity()
    concurrency: Count | None = None
    """For commands: another word for `capacity.slots`, and 1 where neither is given."""
    timeouts: NodeTimeouts = NodeTimeouts()
    command: tuple[str, ...] | None = None
    """Program and arguments, run as they stand, without a shell."""
    poll: bool = True
    """Whether the node is asked, every few seconds, what it has and how busy it is."""
    check: bool = True
    """Whether the node is asked whether it is there; see `health.check`."""
    continuation: Continuation | None = None
    """How it goes on from the beginning of an answer; None: not known, so it is not asked to."""
    verify_tls: bool = True

    def __post_init__(self) -> None:
        if self.kind is _DERIVED:
            force_setattr(self, "kind", self._guessed_kind())
        if self.url is not None and self.kind in {NodeKind.OPENAI, NodeKind.OLLAMA}:
            force_setattr(self, "url", tidy_url(self.url, native=self.kind is NodeKind.OLLAMA))
        if self.kind is NodeKind.COMMAND and self.capacity.slots is None:
            force_setattr(self, "capacity", msgspec.structs.replace(self.capacity, slots=self.concurrency or 1))
        if self.name is _DERIVED:
            force_setattr(self, "name", self._derived_name())
        if self.models is None and self.kind in {NodeKind.COMMAND, NodeKind.SIMULATED}:
            force_setattr(self, "models", (ServedModel(name=self.name),))

    def _guessed_kind(self) -> NodeKind:
        if self.command is not None:
            return NodeKind.COMMAND
        return NodeKind.OLLAMA if self.url and is_ollama_url(self.url) else NodeKind.OPENAI

    def _derived_name(self) -> str:
        if self.url:
            return host_and_port(self.url)
        return self.command[0].rpartition("/")[2] if self.command else str(self.kind)

    def to_node(self) -> Node:
        """Return the node as the decision core sees it."""
        return Node(
            name=self.name,
            weight=self.weight,
            region=self.region,
            failure_domain=self.failure_domain or _host(self.url),
            capacity=self.capacity,
        )


def _host(url: str | None) -> str | None:
    """Return the host of an address: nodes on one host fail together."""
    try:
        return None if url is None else split_url(url).hostname
    except ValueError:
        return None


class ModelConfig(_Part, frozen=True, kw_only=True):
    """What is known of a model, whichever nodes serve it."""

    name: Text
    context_tokens: Count | None = None
    capabilities: frozenset[str] | None = None
    """Of `tools`, `vision`, `json`, `logprobs` or words of your own; None: unknown, nothing is ruled out."""
    price: Price | None = None
    skill: dict[TaskCategory, Share] = {}
    timeouts: ModelTimeouts = ModelTimeouts()

    def to_model(self) -> Model:
        """Return the model as the decision core sees it."""
        return Model(
            name=self.name,
            capabilities=self.capabilities,
            context_tokens=self.context_tokens,
            price=self.price,
            skill=self.skill,
        )


class CheckConfig(_Part, frozen=True, kw_only=True):
    """What an answer must pass before a cascade takes it; all that are said must hold."""

    refusal: bool = True
    """Fails an empty answer, and one that refuses or gives up."""
    json: bool = False
    """Fails an answer that is no JSON."""
    json_schema: dict[str, Any] | None = None
    """Fails an answer that is no JSON of this schema."""
    min_mean_logprob: Annotated[float, Meta(le=0)] | None = None
    """Fails an answer whose tokens are less likely on average, where the node tells."""
    plugin: Text | None = None
    """Asks a function registered under `fairlead.checks`."""


class CascadeConfig(_Part, frozen=True, kw_only=True):
    """A cheap model first, the next one when its answer fails a check."""

    name: Text
    models: Annotated[tuple[Text, ...], Meta(min_length=2)]
    """From cheap to dear."""
    check: CheckConfig = CheckConfig()


class LogPrompts(StrEnum):
    """What the stored decision log keeps of a prompt."""

    NONE = "none"
    HASH = "hash"
    REDACT = "redact"
    FULL = "full"


class StateConfig(_Part, frozen=True, kw_only=True):
    """Where what was learnt and decided is kept over a restart."""

    enabled: bool = True
    path: Text | None = None
    """The database file; None: `fairlead serve` chooses one for each port in this user's state folder."""
    log_prompts: LogPrompts = LogPrompts.NONE
    decisions_per_s: Amount = 200.0
    """Decisions stored in full a second; errors, rescues and those with feedback always are, the rest is counted."""
    max_mb: Count = 256
    """Size of the file beyond which the oldest decisions are dropped."""
    keep_days: Annotated[float, Meta(gt=0)] = 30.0


class Retries(_Part, frozen=True, kw_only=True):
    """How often a task is tried again, and how much that may add to the traffic."""

    max_attempts: Count = 3
    budget_ratio: Amount = 0.2
    """Repeats per request over the whole fleet..."""
    min_per_second: Amount = 3.0
    """...or this many a second, whichever is more."""


class KeyConfig(_Part, frozen=True, kw_only=True):
    """A caller's key, written out or as its SHA-256."""

    name: Text
    key: Secret | None = None
    key_sha256: Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")] | None = None
    admin: bool = False
    max_cost_usd: Amount | None = None
    """Most that one request may cost, whatever its header says."""
    tenant: Text | None = None
    share: Annotated[float, Meta(gt=0)] = 1.0
    """Of the fleet while others wait too, relative to theirs."""
    priority: Text | None = None
    """Of its requests where they name none: `interactive`, `normal`, `batch`, or 0 (first) to 9 (last)."""
    max_priority: Text | None = None
    """The most urgent that its requests may name; what is more urgent counts as this."""
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None

    def digest(self) -> bytes:
        """Return the SHA-256 of the key, to compare with a caller's in constant time."""
        import hashlib

        if self.key_sha256 is not None:
            return bytes.fromhex(self.key_sha256)
        return hashlib.sha256((self.key.reveal() if self.key else "").encode()).digest()


class Limits(_Part, frozen=True, kw_only=True):
    """What the gateway takes from a caller."""

    max_body_bytes: Count = 32 * 2**20
    max_header_bytes: Count = 64 * 2**10
    header_timeout_s: Seconds = 10.0
    max_connections: Count = 4096


class Config(_Part, frozen=True, kw_only=True):
    """Everything that a file can say; `Config()` is a gateway with every default and no node."""

    listen: str = "127.0.0.1:8400"
    unix_socket: Text | None = None
    """Path of a local socket whose callers are administrators."""
    strategy: Text = "hybrid"
    detector: Text = "rules"
    """What tells a task's category: `rules`, `trained:PATH`, or one registered under `fairlead.detectors`."""
    seed: int = 0
    nodes: tuple[NodeConfig, ...] = ()
    models: tuple[ModelConfig, ...] = ()
    groups: dict[str, tuple[str, ...]] = {}
    aliases: dict[str, str] = {}
    fallbacks: dict[str, tuple[str, ...]] = {}
    routing: RoutingConfig = RoutingConfig()
    cascades: tuple[CascadeConfig, ...] = ()
    state: StateConfig = StateConfig()
    queue: QueueConfig = QueueConfig()
    load_balancer: LoadBalancerConfig = LoadBalancerConfig()
    load_measure: LoadMeasure = LoadMeasure.REQUESTS
    prefix: PrefixConfig = PrefixConfig()
    scaling: ScalingConfig = ScalingConfig()
    circuit_breaker: CircuitBreakerConfig = CircuitBreakerConfig()
    health: HealthConfig = HealthConfig()
    rescue: Rescue = Rescue.SAME_MODEL
    """Who may finish an answer that broke off in the middle."""
    hedging: HedgingConfig = HedgingConfig()
    degradation: DegradationConfig = DegradationConfig()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    keys: tuple[KeyConfig, ...] = ()
    limits: Limits = Limits()
    allow_hosts: tuple[str, ...] = ()
    """Further names by which callers may address the gateway; `*` for any."""
    allow_origins: tuple[str, ...] = ()
    """Web pages that may call it from a browser, such as `https://chat.example.org`; `*` for any."""
    insecure: bool = False
    """Listen beyond this machine without keys."""
    pending_timeout_s: Seconds = 600.0
    half_life_s: Seconds = 3600.0
    """After this long an outcome counts half."""
    exploration: Share = 0.1
    """Largest share of tasks that strategies give to candidates of which too little is known."""
    drain_s: Amount = 30.0
    """How long requests in flight may take to finish at the end."""
    reload: bool = True
    """Whether a change of the file is taken up while the gateway runs; SIGHUP and the admin API always do."""

    @property
    def host(self) -> str:
        """Where to listen, without the port."""
        return parse_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The port to listen on; 0: any free one."""
        return parse_listen(self.listen)[1]
