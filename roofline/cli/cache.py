"""`roofline cache`: look at or empty the cache of traced graphs."""

import click

from roofline import units


@click.group(short_help="Look at or empty the cache of traced graphs.")
def command() -> None:
    """Look at or empty the cache of traced graphs.

    A network is traced once; later analyses read its graph from here and need no PyTorch. ROOFLINE_CACHE names another
    folder, ROOFLINE_CACHE_LIMIT another size in bytes.

    \b
    Examples:
      roofline cache info
      roofline cache clear
    """


@command.command()
def info() -> None:
    """Print where the cache is and how much it holds.

    \b
    Example:
      roofline cache info
    """
    from roofline.tracing import cache

    found = cache.info()
    click.echo(f"{found.folder}\n{found.graphs} graphs, {units.scaled(found.size, 'B')} of {units.scaled(found.limit, 'B')}")


@command.command()
def clear() -> None:
    """Delete every kept graph.

    \b
    Example:
      roofline cache clear
    """
    from roofline.tracing import cache

    found = cache.clear()
    click.echo(f"deleted {found.graphs} graphs, {units.scaled(found.size, 'B')}")
