"""The `pixelmill` command: a thin door whose rooms are opened only when asked for.

Each command lives in its own module and is imported when it is used, so that `pixelmill --help` answers at once and no
command pays for another's imports. Only `export`, `describe` and `adopt` reach into `exports/` (and so need its extra).
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click

from pipelines.errors import PixelmillError

# name → (module:attribute, one line for the overview)
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("workers.commands.run:run", "Process a file, a folder, a glob or a list file through the queue."),
    "submit": ("workers.commands.submit:submit", "Give a job to a running service and go; it needs no client."),
    "status": ("workers.commands.status:status", "Say how a job is; without one, how the service is."),
    "watch": ("workers.commands.watch:watch", "Wait for a job, with a progress bar."),
    "results": ("workers.commands.results:results", "Print a job's results as JSON Lines while it runs."),
    "cancel": ("workers.commands.cancel:cancel", "End a job; what is done is kept."),
    "retry": ("workers.commands.retry:retry", "Try a job's failures again, as a new job."),
    "jobs": ("workers.commands.jobs:jobs", "List the jobs a service knows."),
    "dead": ("workers.commands.dead:dead", "Look into what was given up, and try it again."),
    "worker": ("workers.commands.worker:worker", "Start a worker by hand, on the broker in PIXELMILL_BROKER."),
    "serve": ("workers.commands.serve:serve", "Serve the HTTP API and the page."),
    "tokens": ("workers.commands.tokens:tokens", "Say who may use the HTTP API."),
    "health": ("workers.commands.health:health", "Ask whether the broker answers and a worker here takes shards."),
    "models": ("workers.commands.models:models", "List the models that can run, with their cards."),
    "inspect": ("workers.commands.inspect:inspect", "Say how Pixelmill sees a picture, and what it would convert."),
    "export": ("exports.commands:export", "Turn a PyTorch network into one verified ONNX file."),
    "describe": ("exports.commands:describe", "Print a network layer by layer."),
    "adopt": ("exports.commands:adopt", "Give a foreign ONNX file a card, checked by running it."),
}

EXIT_OK, EXIT_CANNOT_RUN, EXIT_USAGE, EXIT_WITH_FAILURES, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


class LazyGroup(click.Group):
    """A click group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or say which extra it needs."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for a mistyped one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"there is no command {name!r}.{hint} `pixelmill --help` lists them all.", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  pixelmill run detect photos/ --out results/
  pixelmill run classify 'photos/**/*.jpg' --out labels/ --top-k 3
  pixelmill models
""",
)
@click.version_option(package_name="pixelmill", prog_name="pixelmill")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Images through a queue of ONNX pipelines to results, each exactly once."""
    ctx.obj = {"debug": debug}


def main() -> NoReturn:
    """Run the command line; every expected error is one sentence on stderr and exit status 1."""
    debug = "--debug" in sys.argv
    if debug:  # accepted before or after the command's name
        sys.argv = [sys.argv[0], "--debug", *(a for a in sys.argv[1:] if a != "--debug")]
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PixelmillError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_CANNOT_RUN)
    sys.exit(code if isinstance(code, int) else EXIT_OK)


if __name__ == "__main__":
    main()
