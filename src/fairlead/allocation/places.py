"""Which nodes serve which models, and what a route asks for."""

from collections.abc import Sequence
from operator import attrgetter

from fairlead.allocation.account import Account
from fairlead.domain import ModelChain, Node, OptimizedRoute, RouteOptions

Route = str | ModelChain | RouteOptions | OptimizedRoute

BY_LOAD = attrgetter("rank")
"""The least utilized first, then the one with the fewest tasks; among these a list's own order decides: by name."""


class Places:
    """Accounts by model."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._served: dict[str, tuple[str, ...]] = {}
        self._by_model: dict[str, list[Account]] = {}
        self._leaving: dict[str, Account] = {}

    def account(self, node: Node) -> Account:
        """Return a node's account, made where there is none. A node that comes back finds its open leases."""
        account = self.accounts.get(node.name)
        if account is None:
            account = self._leaving.pop(node.name, None)
            if account is None:
                account = Account(name=node.name, capacity=node.capacity)
            else:
                account.probe_limit = None
                account.warmth = 1.0
                account.resize(node.capacity)
            self.accounts[node.name] = account
        return account

    def serve(self, node: Node, models: Sequence[str]) -> None:
        """Let a node serve these models; all there are where none is named."""
        self.account(node).resize(node.capacity)
        self._served[node.name] = tuple(models)
        self._by_model.clear()

    def forget(self, node_name: str) -> bool:
        """Let a node go; False where there is none by that name. What is leased on it stays leased."""
        account = self.accounts.pop(node_name, None)
        if account is None:
            return False
        if self._served.pop(node_name, None) is not None:
            self._by_model.clear()
        self._leaving = {name: one for name, one in self._leaving.items() if one.in_flight}
        if account.in_flight:
            self._leaving[node_name] = account
        return True

    def of(self, model: str) -> list[Account]:
        """Return the accounts of the nodes that serve a model, by name."""
        found = self._by_model.get(model)
        if found is None:
            if not self._by_model:
                self._index()
                return self.of(model)
            found = self._by_model[""]
        return found

    def _index(self) -> None:
        """List the accounts of each model that is named, and under "" of those that serve whatever is asked."""
        named = dict.fromkeys(model for models in self._served.values() for model in models)
        for model in (*named, ""):
            self._by_model[model] = [
                self.accounts[name]
                for name, models in sorted(self._served.items())
                if not models or (model and model in models)
            ]


def models_of(route: Route) -> tuple[str, ...]:
    """Return the models that a route asks for, each once, the first choice first."""
    if isinstance(route, str):
        return (route,)
    if isinstance(route, ModelChain):
        chains: tuple[ModelChain, ...] = (route,)
    elif isinstance(route, RouteOptions):
        chains = (route.primary_route, *route.alternative_routes)
    else:
        chains = (route.primary, *route.fallbacks)
    return tuple(dict.fromkeys(model for chain in chains for model in chain.models))
