"""`roofline what-ifs`: list the changes that a network can be given."""

import click

from roofline.cli.console import terminal


@click.command(short_help="List the what-ifs that networks can be given.")
def command() -> None:
    """List every what-if of `roofline analyze --what-if NAME[=VALUE][@LAYERS]`, with what it does and what it takes.

    They apply in the order given. LAYERS are shell patterns over module paths, apart by commas; a pattern that matches a module
    stands for all inside it, and `!` leaves layers out.

    \b
    Examples:
      roofline what-ifs
      roofline analyze efficientnet_b0 --hw t4 --what-if fold-bn --what-if fuse-se
      roofline analyze efficientnet_b0 --hw t4 --what-if 'int8@blocks.*,!*.se'
      roofline analyze resnet50 --hw v100 -b 64 --what-if prune=0.5@layer4 --what-if channels-last
    """
    from textwrap import wrap

    from roofline.transforms.changes import CHANGES

    width = terminal().width
    for name, change in CHANGES.items():
        print(f"{name}{change.usage}{f'   {change.such}' if change.such else ''}")
        for line in wrap(change.summary, width, initial_indent="    ", subsequent_indent="    "):
            print(line)
        for line in wrap(f"takes {change.takes}", width, initial_indent="    ", subsequent_indent="      "):
            print(line)
