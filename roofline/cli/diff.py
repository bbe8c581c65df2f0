"""`roofline diff`: what moved between two saved analyses, and why."""

import sys
from collections.abc import Sequence

import click

from roofline.cli import options
from roofline.cli.console import terminal
from roofline.cli.outputs import check_suffixes, emit

SUFFIXES = (".json", ".md")
VIOLATED = 1


@click.command(short_help="Say what moved between two saved analyses, and why.")
@click.argument("old", metavar="OLD.json")
@click.argument("new", metavar="NEW.json")
@click.option("--top", type=click.IntRange(0), default=10, show_default=True, help="Layers to list.")
@click.option(
    "--fail-if", "rules", multiple=True, metavar="RULE", help="Exit with code 1 if so, such as 'latency>+5%'; repeat for several."
)
@options.results(".json or .md")
def command(old: str, new: str, top: int, rules: Sequence[str], outputs: Sequence[str], as_json: bool) -> int:
    """Hold the analyses of NEW.json against those of OLD.json: what moved, by which layers and kinds of op, and why.

    Both are files that `roofline analyze -o FILE.json` wrote: of two networks, of two devices, or of the same by two versions of this
    tool. The change of the latency is parted among layers added and removed, arithmetic, traffic, the device's datasheet rates, how
    much of those is reached, and overhead; the parts add up to it.

    \b
    Examples:
      roofline analyze efficientnet_b0 --hw t4 -o old.json
      roofline analyze efficientnet_b0 --hw t4 --what-if fold-bn -o new.json
      roofline diff old.json new.json
      roofline diff old.json new.json --fail-if 'latency>+5%' -o moved.md
    """
    from roofline.studies.check import Change
    from roofline.studies.diff import diff
    from roofline.studies.diff_text import lines
    from roofline.studies.gate import gate

    check_suffixes(outputs, SUFFIXES)
    changes = tuple(map(Change.parse, rules))
    found = diff(old, new)
    emit(lines(found, top), outputs, as_json, {".json": found.to_json, ".md": found.to_markdown})
    if not changes:
        return 0
    checked = gate(found, changes)
    for text in checked.lines(terminal().width):
        print(text, file=sys.stderr if as_json else sys.stdout)
    return 0 if checked.passed else VIOLATED
