"""Options that several commands share, so that they read and mean the same everywhere."""

from collections.abc import Callable
from typing import Any

import click

from roofline.cli.analyze import Commas

Command = Callable[..., Any]


def hardware(default: str | None = None) -> Callable[[Command], Command]:
    """Add `--hw`: devices by name or file, `all` for every profile; required without a *default*."""
    about = "Devices: names (`roofline hardware list`), YAML files, or all."
    kind = Commas("device[,device]")
    if default is None:
        return click.option("--hw", "--hardware", "hardware", type=kind, required=True, help=about)
    return click.option("--hw", "--hardware", "hardware", type=kind, default=default, show_default=True, help=about)


def batches(default: str = "1") -> Callable[[Command], Command]:
    """Add `-b`: one or several batch sizes."""
    kind = Commas("n[,n]", whole_numbers=True)
    return click.option("-b", "--batch", "batches", type=kind, default=default, show_default=True, help="Batch sizes.")


def way(command: Command) -> Command:
    """Add how a network is run: precision, mode and layout."""
    precision = click.option("--precision", default="fp32", show_default=True, help="fp32, tf32, amp, fp16, bf16, int8 or int4.")
    mode = click.option("--mode", default="eager", show_default=True, help="Who runs it: eager, compiled, engine or ideal.")
    return precision(mode(layout(command)))


def layout(command: Command) -> Command:
    """Add `--layout`."""
    return click.option("--layout", default="nchw", show_default=True, help="nchw or nhwc (channels last).")(command)


def image_size(command: Command) -> Command:
    """Add `--image-size`."""
    about = "Pixels a side [default: the network's own]."
    return click.option("--image-size", "--img-size", type=int, help=about)(command)


def results(suffixes: str) -> Callable[[Command], Command]:
    """Add where results go: `-o FILE` with one of *suffixes*, and `--json`."""

    def add(command: Command) -> Command:
        about = f"Write {suffixes} by suffix; repeat for several."
        files = click.option("-o", "--output", "outputs", multiple=True, metavar="FILE", help=about)
        return files(click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")(command))

    return add


def pricing(command: Command) -> Command:
    """Add `--uncalibrated` and `--no-cache`."""
    about = "Price at sourced ceilings alone, without what was fitted to measurements."
    uncalibrated = click.option("--uncalibrated", is_flag=True, help=about)
    return uncalibrated(click.option("--no-cache", is_flag=True, help="Trace again, and keep nothing.")(command))


def limits(command: Command) -> Command:
    """Add a limit on each quantity that people limit."""
    for name, metavar, about in reversed(
        (
            ("--max-latency", "TIME", "Longest time of a batch, such as 10ms."),
            ("--min-throughput", "RATE", "Fewest items a second, such as 1000 or 2.5k."),
            ("--max-memory", "SIZE", "Most device memory, such as 2GB or 512MiB."),
            ("--max-cost", "USD", "Most dollars for a million items, such as 0.50."),
            ("--max-energy", "J", "Most joules an item at the power limit, such as 0.5."),
            ("--max-macs", "N", "Most multiply-accumulates an item, such as 400M."),
            ("--max-params", "N", "Most parameters, such as 5.3M."),
        )
    ):
        command = click.option(name, metavar=metavar, help=about)(command)
    return command
