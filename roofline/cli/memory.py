"""`roofline memory`: what a network takes, who holds it at the peak, and on which devices it fits."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click

from roofline.cli import options
from roofline.cli.analyze import Commas
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes, emit
from roofline.errors import RooflineError

if TYPE_CHECKING:
    from roofline.studies.memory_text import Room

SUFFIXES = (".json", ".csv", ".md")


@click.command(short_help="Say how much memory a network takes, and where it fits.")
@click.argument("model")
@options.batches()
@click.option("--hw", "--hardware", "hardware", type=Commas("device[,device]"), help="Devices: names, YAML files, or all.")
@click.option("--memory", "sizes", type=Commas("size[,size]"), help="Sizes to fit in beside those of devices, such as 11GB or 24GiB.")
@click.option("--train", is_flag=True, help="Of a training step: forward, backward and update.")
@click.option("--optimizer", help="sgd, momentum, adam, adamw or rmsprop; implies --train  [default: momentum]")
@click.option("--fit", is_flag=True, help="Find the largest batch that fits on each device.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, tf32, amp, fp16, bf16, int8 or int4.")
@click.option("--mode", default="eager", show_default=True, help="Who runs it: eager, compiled or engine (inference).")
@options.image_size
@click.option("--in-chans", type=int, help="Input channels [default: the network's own].")
@click.option(
    "--input", "inputs", multiple=True, metavar="SHAPE[:DTYPE]", help="Shape of an input, batch first: 1,3,224,224 or 1,128:int64."
)
@options.results(".json, .csv or .md")
@click.option("--no-cache", is_flag=True, help="Trace again, and keep nothing.")
def command(
    model: str, batches: Sequence[int], hardware: Sequence[str] | None, sizes: Sequence[str] | None, train: bool, optimizer: str | None,
    fit: bool, precision: str, mode: str, image_size: int | None, in_chans: int | None, inputs: Sequence[str], outputs: Sequence[str],
    as_json: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Say how much memory MODEL takes: weights, activations, at which layer the peak is, and who holds it there.

    With --train that is a training step: what is kept for the backward pass, gradients and the state of the optimizer. Memory
    is followed tensor by tensor, as PyTorch frees it. Workspace of libraries, the context of the driver (some hundred MB on
    a GPU) and gaps of the allocator come on top.

    \b
    Examples:
      roofline memory efficientnet_b7 -b 1,8,64 --hw t4,v100
      roofline memory efficientnet_b7 --train --optimizer rmsprop --memory 11GB
      roofline memory efficientnet_b0 --train --fit --hw t4,v100 --precision amp
      roofline memory net.py:build --input 1,128:int64 -b 32 --json | jq '.memory[0].total_bytes'
    """
    from roofline.studies import memory_text
    from roofline.studies.footprint import footprint

    check_suffixes(outputs, SUFFIXES)
    rooms = _rooms(hardware or (), sizes or ())
    if fit and not rooms:
        raise RooflineError("--fit needs somewhere to fit; give --hw t4 or --memory 11GB")
    chosen = optimizer or ("momentum" if train else None)
    with redirect_stdout(sys.stderr), progress() as tell:  # what the user's code prints is no part of the result
        kinds = dict.fromkeys((None, chosen) if fit else (chosen,))
        tell(f"tracing {model}", 0.2)
        found = [
            footprint(
                model, optimizer=kind, image_size=image_size, in_chans=in_chans, inputs=inputs, precision=precision, mode=mode,
                cache=not no_cache,
            )
            for kind in kinds
        ]  # fmt: skip
        memories = [found[-1].at(batch) for batch in batches]
        bounded = fit or found[-1].graph.batch is not None
        fits = memory_text.largest_fits(found, rooms) if bounded else ()
    writers = {
        ".json": lambda: memory_text.to_json(memories, rooms, fits),
        ".csv": lambda: memory_text.to_csv(memories, rooms, fits if fit else ()),
        ".md": lambda: memory_text.to_markdown(memories, rooms, fits if fit else ()),
    }
    width = terminal().width
    if fit:
        lines = memory_text.fit_lines(memories[0], fits, width)
    elif len(memories) == 1:
        lines = memory_text.lines(memories[0], rooms, fits, width)
    else:
        lines = memory_text.table(memories, rooms, width)
    emit(lines, outputs, as_json, writers)


def _rooms(hardware: Sequence[str], sizes: Sequence[str]) -> "list[Room]":
    from roofline.studies.footprint import capacity
    from roofline.studies.memory_text import Room
    from roofline.studies.setting import devices

    named = [Room(device.id, device.memory_size) for device in devices(hardware)] if hardware else []
    if bad := [size for size in sizes if not size[:1].isdigit()]:
        raise RooflineError(f"bad memory size {bad[0]!r}; write a number and a unit, such as 11GB or 10.5GiB")
    return [*named, *(Room(size, capacity(size)) for size in sizes)]
