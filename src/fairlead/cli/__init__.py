"""The command line: each command is a module of its own, imported only when it is called."""

from importlib import import_module
from importlib.util import find_spec

import click

from fairlead import __version__
from fairlead.errors import FairleadError

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("fairlead.cli.serve:serve", "Serve a fleet of models under one address."),
    "check": ("fairlead.cli.check:check", "Check a configuration and show what it says."),
    "route": ("fairlead.cli.route:route", "Show where a prompt would go, without sending it."),
    "explain": ("fairlead.cli.explain:explain", "Show why a task went where it went, and what was learnt from it."),
    "nodes": ("fairlead.cli.nodes:nodes", "Show how busy the nodes are: what each has, and what is leased."),
    "queue": ("fairlead.cli.queue:queue", "Show who waits for room, and how long that takes."),
    "leases": ("fairlead.cli.leases:leases", "Show what every task holds of its node."),
    "events": ("fairlead.cli.events:events", "Show what happened: circuits, failovers, rescues, draining."),
    "drain": ("fairlead.cli.draining:drain", "Give a node no further tasks."),
    "undrain": ("fairlead.cli.draining:undrain", "Give a node tasks again."),
    "recover": ("fairlead.cli.draining:recover", "Close the circuit of a node now."),
    "reload": ("fairlead.cli.reload:reload", "Read the configuration again, and show what that changes."),
    "models": ("fairlead.cli.models:models", "List well-known models, or what is known of a fleet's."),
    "evaluate": ("fairlead.cli.evaluate:evaluate", "Measure routing on a table of prompts, models and scores."),
    "drill": ("fairlead.cli.drill:drill", "Let every known fault happen to a fleet of your shape."),
    "state": ("fairlead.cli.state:state", "Look at what was learnt, take it elsewhere, or begin anew."),
    "train": ("fairlead.cli.train:train", "Train a detector of task categories from labelled prompts."),
    "local": ("fairlead.cli.local:local", "Run a small model on this machine."),
    "key": ("fairlead.cli.key:key", "Make keys for callers."),
    "import": ("fairlead.cli.importing:import_", "Turn another router's configuration into one of ours."),
}
"""Name, where the command stands, and its line in the help, which so needs no import."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for name, (place, _) in COMMANDS.items() if find_spec(place.partition(":")[0])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="fairlead %(version)s")
def cli() -> None:
    """Lead every task to the model, and the machine, that will do it best."""


def main(args: list[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 2 something to mend, 130 interrupted."""
    try:
        code = cli.main(args=args, prog_name="fairlead", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except FairleadError as error:
        return _complain(str(error), 2)
    except (click.Abort, KeyboardInterrupt):
        return 130
    return code if isinstance(code, int) else 0


def _complain(message: str, code: int) -> int:
    click.echo("fairlead: " + message.replace("\n", "\n" + " " * 10), err=True)
    return code
