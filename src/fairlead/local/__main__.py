"""Fetch the weights of the local model and print their path: `python -m fairlead.local`."""

import sys

import click

from fairlead.errors import FairleadError
from fairlead.local.weights import fetch_weights


def main() -> int:
    """Return 0 with the path on stdout, or 1 with one sentence on stderr."""
    try:
        path = fetch_weights(lambda line: click.echo(line, err=True))
    except FairleadError as error:
        click.echo(f"fairlead: {error}", err=True)
        return 1
    click.echo(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
