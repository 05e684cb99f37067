"""`fairlead key`: keys for callers."""

import base64
import hashlib
import json
import re

import click

from fairlead.rng import fresh_secret


@click.group()
def key() -> None:
    """Make keys for callers."""


@key.command()
@click.option("--name", default="caller", show_default=True, help="Whose key it is.")
@click.option("--admin", is_flag=True, help="It may also change the gateway.")
def new(name: str, admin: bool) -> None:
    """Print a fresh key, once, and the lines for the configuration, which hold only its hash."""
    if not name.strip():
        raise click.BadParameter("a key needs a name", param_hint="--name")
    secret = make_key()
    click.echo(secret)
    click.echo("\n# The key above is shown only now; give it to the caller. This goes into fairlead.yaml:\nkeys:")
    click.echo(f"  - name: {_yaml_text(name.strip())}")
    click.echo(f"    key_sha256: {hashlib.sha256(secret.encode()).hexdigest()}")
    if admin:
        click.echo("    admin: true")


def make_key() -> str:
    """Return a key with 256 bits of chance: `fl-` and 43 characters that need no quoting anywhere."""
    return "fl-" + base64.urlsafe_b64encode(fresh_secret(32)).rstrip(b"=").decode()


def _yaml_text(text: str) -> str:
    return text if re.fullmatch("[A-Za-z][A-Za-z0-9_.@-]*", text) else json.dumps(text)
