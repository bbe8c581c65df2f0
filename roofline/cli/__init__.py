"""The command line: one file a command, each of which parses, calls the library and prints."""

import io
import os
import sys
from importlib import import_module
from typing import Any

import click

import roofline
from roofline.errors import RooflineError

COMMANDS = {
    "analyze": "roofline.cli.analyze",
    "compare": "roofline.cli.compare",
    "advise": "roofline.cli.advise",
    "what-ifs": "roofline.cli.what_ifs",
    "memory": "roofline.cli.memory",
    "train": "roofline.cli.train",
    "measure": "roofline.cli.measure",
    "calibrate": "roofline.cli.calibrate",
    "validate": "roofline.cli.validate",
    "choose": "roofline.cli.choose",
    "cost": "roofline.cli.cost",
    "scale": "roofline.cli.scale",
    "zoo": "roofline.cli.zoo",
    "check": "roofline.cli.check",
    "diff": "roofline.cli.diff",
    "sweep": "roofline.cli.sweep",
    "search": "roofline.cli.search",
    "models": "roofline.cli.models",
    "hardware": "roofline.cli.hardware",
    "cache": "roofline.cli.cache",
}
"""Every command and the module that holds it as `command`, in the order of the help."""

BAD_INPUT = 2


class Commands(click.Group):
    """Import a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command called *cmd_name*."""
        return import_module(COMMANDS[cmd_name]).command if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest a command when the name is not known."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {close[0]}?" if close else ";"
            raise click.UsageError(f"unknown command {args[0]!r}{hint} known: {', '.join(COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where the reader of its output has gone, end before click makes that a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return _reader_gone()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(roofline.__version__, "-V", "--version", message="roofline %(version)s")
def root() -> None:
    """Roofline performance analysis of neural networks, without the device and without weights.

    How fast will a network run on a device, what holds each layer back, how far is the physical limit, and what would
    change it?

    \b
    Examples:
      roofline analyze efficientnet_b3 --hw t4
      roofline analyze resnet50 --hw t4,v100,cpu -b 1,64 --precision fp16
      roofline analyze path/to/net.py:build --hw a100-40gb -o report.html
      roofline models 'efficientnet*'
      roofline hardware show t4
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; end with exit code 0, 1 (a check asked for failed) or 2 (bad input or interrupted)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character still shows the rest
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; every mistake of the user is one line on stderr."""
    try:
        result: Any = root.main(args=arguments, prog_name="roofline", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return BAD_INPUT
    except click.ClickException as error:
        return _fail(error.format_message(), context=getattr(error, "ctx", None))
    except RooflineError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted")
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as error:  # of `hardware check`
        return int(error.code or 0)
    except MemoryError:
        return _fail("out of memory; use a smaller network or fewer batch sizes")
    return result if isinstance(result, int) else 0


def _reader_gone() -> int:
    """End in peace, as in `roofline ... | head`: what is still buffered goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(message: str, context: click.Context | None = None) -> int:
    text = " ".join(message.split()).removesuffix(".")
    if context is not None:
        text += f"{' See' if text.endswith('?') else '; see'} {context.command_path} --help"
    print(f"error: {text}", file=sys.stderr)
    return BAD_INPUT
