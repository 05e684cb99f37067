"""Fleets of real llama.cpp servers for tests and demonstrations; nothing here needs pytest."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from fairlead.local.cut import cut_layers
from fairlead.local.process import LocalServer
from fairlead.local.weights import ALIAS, fetch_weights


@contextmanager
def llama_fleet(
    n: int,
    *,
    layers: int | None = 2,
    aliases: Sequence[str] = (ALIAS,),
    parallel: int = 2,
    context_tokens: int = 2048,
    embeddings: bool = False,
) -> Iterator[list[LocalServer]]:
    """Run `n` real servers on free ports, aliases dealt out in turn; `layers=None` takes the whole model.

    Fetches the weights if need be; raises `FairleadError` when they cannot be had or a server does not start.
    """
    weights = fetch_weights()
    gguf = weights if layers is None else cut_layers(weights, layers)

    def start(index: int) -> LocalServer:
        alias = aliases[index % len(aliases)]
        return LocalServer.start(gguf, alias, parallel=parallel, context_tokens=context_tokens, embeddings=embeddings)

    with ExitStack() as stack:
        with ThreadPoolExecutor(max_workers=4) as pool:
            pending = [pool.submit(start, index) for index in range(n)]
        for future in pending:
            if future.exception() is None:  # those that did start are stopped whatever became of the others
                stack.enter_context(future.result())
        yield [future.result() for future in pending]
