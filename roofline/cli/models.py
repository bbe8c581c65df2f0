"""`roofline models`: list the networks that can be named."""

import sys
from contextlib import nullcontext

import click

from roofline.cli.console import status
from roofline.errors import UnknownNameError


@click.command(short_help="List the networks that can be analyzed by name.")
@click.argument("pattern", default="*")
def command(pattern: str) -> None:
    """List the networks of timm and torchvision whose name matches PATTERN (a shell pattern, or a part of the name).

    \b
    Examples:
      roofline models 'efficientnet*'
      roofline models mobilenet
      roofline models 'torchvision:*' | wc -l
    """
    from roofline.tracing.models import names

    with status("loading timm and torchvision") if sys.stderr.isatty() else nullcontext():
        found = names(pattern)
    if not found:
        raise UnknownNameError(f"no model matches {pattern!r}; `roofline models` lists all")
    click.echo("\n".join(found))
