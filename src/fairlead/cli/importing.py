"""`fairlead import`: other routers' configurations."""

from typing import IO

import click


@click.group("import")
def import_() -> None:
    """Turn another router's configuration into one of ours."""


@import_.command()
@click.argument("file", type=click.File(encoding="utf-8"))
def litellm(file: IO[str]) -> None:
    """Turn a LiteLLM config.yaml (- for standard input) into fairlead YAML on standard output.

    Keys that stand in FILE become references to the environment; what has no counterpart is listed on top.
    """
    from fairlead.config.litellm import import_litellm
    from fairlead.errors import ConfigError

    try:
        text = file.read()
    except UnicodeDecodeError:
        raise ConfigError(f"{file.name}: cannot be read: it is not UTF-8 text") from None
    click.echo(import_litellm(text, file.name), nl=False)
