"""`roofline train`: how long a training step takes, phase by phase, and what a whole run costs."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import click

from roofline.cli import options
from roofline.cli.console import progress, terminal
from roofline.cli.outputs import check_suffixes, emit

SUFFIXES = (".json", ".csv", ".md")


@click.command(short_help="Predict a training step and what a run costs.")
@click.argument("model")
@options.hardware()
@options.batches("32")
@click.option("--optimizer", default="momentum", show_default=True, help="sgd, momentum (SGD with it), adam, adamw or rmsprop.")
@click.option("--epochs", type=float, help="Epochs of a whole run.")
@click.option("--dataset-size", type=int, help="Items of an epoch; ImageNet has 1281167.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, tf32, amp, fp16 or bf16.")
@click.option("--mode", default="eager", show_default=True, help="Who runs it: eager or compiled.")
@options.layout
@options.image_size
@click.option("--in-chans", type=int, help="Input channels [default: the network's own].")
@click.option(
    "--input", "inputs", multiple=True, metavar="SHAPE[:DTYPE]", help="Shape of an input, batch first: 1,3,224,224 or 1,128:int64."
)
@click.option("--top", type=click.IntRange(0), default=10, show_default=True, help="Layers to list.")
@options.results(".json, .csv or .md")
@options.pricing
def command(
    model: str, hardware: Sequence[str], batches: Sequence[int], optimizer: str, epochs: float | None, dataset_size: int | None,
    precision: str, mode: str, layout: str, image_size: int | None, in_chans: int | None, inputs: Sequence[str], top: int,
    outputs: Sequence[str], as_json: bool, uncalibrated: bool, no_cache: bool,
) -> None:  # fmt: skip
    """Predict how long a training step of MODEL takes: forward, backward and update, what bounds each, and the memory.

    The step is traced from PyTorch's own autograd and optimizer, with cross entropy for classifiers and a sum for other
    networks. With --epochs and --dataset-size the whole run is priced: hours, dollars, PFLOP/s-days, on one device. The time
    model was fitted to inference, so the interval is wider than that of `roofline analyze`.

    \b
    Examples:
      roofline train efficientnet_b0 --hw v100 -b 128 --precision amp
      roofline train efficientnet_b0 --hw v100 --precision amp --epochs 350 --dataset-size 1281167
      roofline train resnet50 --hw t4,v100,a100-40gb -b 32,256 --precision amp -o training.csv
      roofline train net.py:build --hw t4 --input 1,128:int64 --optimizer adamw --json
    """
    from roofline.studies import training_text
    from roofline.studies.setting import devices
    from roofline.studies.training import train_many

    check_suffixes(outputs, SUFFIXES)
    found = devices(hardware)
    with redirect_stdout(sys.stderr), progress() as tell:  # what the user's code prints is no part of the result
        tell(f"tracing {model}", 0.3)
        trainings = train_many(
            model, found, batches, optimizer=optimizer, precision=precision, mode=mode, epochs=epochs, dataset_size=dataset_size,
            layout=layout, calibrated=not uncalibrated, image_size=image_size, in_chans=in_chans, inputs=inputs, cache=not no_cache,
        )  # fmt: skip
    writers = {
        ".json": lambda: training_text.to_json(trainings),
        ".csv": lambda: training_text.to_csv(trainings),
        ".md": lambda: training_text.to_markdown(trainings),
    }
    width = terminal().width
    text = training_text.lines(trainings[0], top, width) if len(trainings) == 1 else training_text.table(trainings, width)
    emit(text, outputs, as_json, writers)
