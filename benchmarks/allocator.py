"""Hold the memory that a run is foretold to ask of the system anew against the page faults of real runs on this machine's processor.

Each network runs in a process of its own (`roofline measure`), eager at batch 1 and 8 and under torch.compile at batch 1. The system
counts the pages that it gave; nothing of that knows of graphs. Writes `results/allocator.csv` with --save.

    python benchmarks/allocator.py [--match PATTERN] [--jobs N] [--save]
"""

import argparse
import csv
import fnmatch
import sys
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

import roofline
from roofline.costmodel.allocator import Process, asked_anew
from roofline.costmodel.columns import tabulate
from roofline.errors import RooflineError
from roofline.measurement.apart import measure_apart
from roofline.transforms.modes import Mode, execute

RESULTS = Path(__file__).parent / "results" / "allocator.csv"

NETWORKS = (
    "resnet18", "resnet34", "resnet50", "resnet152", "wide_resnet50_2", "vgg11", "vgg16", "densenet121", "mobilenetv2_100",
    "efficientnet_b0", "efficientnet_b3", "efficientnet_b5", "mixnet_s", "mixnet_xl", "hgnetv2_b0", "hgnetv2_b5", "repvit_m1",
    "convnext_tiny", "convnext_base", "regnety_016", "regnety_160", "resnext50_32x4d", "selecsls42b", "cspdarknet53", "dpn92",
    "resnetv2_50x1_bit", "resnetv2_101x1_bit", "resnet50_gn", "efficientnet_b0_g8_gn", "rdnet_tiny", "mobileone_s0", "inception_v3",
    "xception41", "res2net50_14w_8s", "gernet_m", "ese_vovnet39b", "dla34", "vit_small_patch16_224", "swin_tiny_patch4_window7_224",
    "tf_efficientnetv2_s",
)  # fmt: skip

AT_8 = ("resnet18", "resnet50", "vgg11", "densenet121", "mobilenetv2_100", "efficientnet_b0", "mixnet_s", "convnext_tiny")

Run = tuple[str, Mode, int]
RUNS: tuple[Run, ...] = (
    *((name, "eager", 1) for name in NETWORKS), *((name, "eager", 8) for name in AT_8), *((name, "compiled", 1) for name in NETWORKS),
)  # fmt: skip


def foretold(run: Run) -> float:
    """Bytes that a run asks for by the rules of the allocator."""
    model, mode, batch = run
    columns = tabulate(execute(roofline.trace(model), mode, 0.0), [batch])
    return float(asked_anew(columns, Process(mode, "nchw")).sum())


def counted(run: Run) -> float | None:
    """Bytes that a run asked for; None, and why, where it could not be timed."""
    model, mode, batch = run
    try:
        found = measure_apart(model, "cpu", batch=batch, mode=mode, threads=None, seconds=2.0)
    except RooflineError as error:
        print(f"{model}: {error}", file=sys.stderr)
        return None
    return float(found.environment["asked_bytes"])


def summary(rows: Sequence[tuple[Run, float, float]]) -> str:
    """Tell for each way of running how much is asked for, and how far off that was foretold: means of megabytes."""
    lines = ["mode      batch   n  asked MB  off by MB  bias MB"]
    for mode, batch in dict.fromkeys((run[1], run[2]) for run, _, _ in rows):
        told, found = (np.array([row[i] for row in rows if row[0][1:] == (mode, batch)]) / 1e6 for i in (1, 2))
        off = told - found
        lines.append(f"{mode:<9} {batch:5} {len(off):3} {found.mean():9.1f} {np.abs(off).mean():10.1f} {off.mean():8.1f}")
    return "\n".join(lines)


def main() -> None:
    """Run them, compare, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="*", help="networks, as a shell pattern")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time: what they ask for does not depend on how long they take")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    runs = [run for run in RUNS if fnmatch.fnmatch(run[0], options.match)]
    rows: list[tuple[Run, float, float]] = []
    with ThreadPool(options.jobs) as pool:
        for run, found in zip(runs, pool.imap(counted, runs), strict=True):
            if found is not None:
                rows.append((run, foretold(run), found))
                print(f"{len(rows)}/{len(runs)} {run[0]} {run[1]} batch {run[2]}: {found / 1e6:.1f} MB", file=sys.stderr)
    if options.save:
        with RESULTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["model", "mode", "batch", "asked_mb", "foretold_mb"])
            writer.writerows([*run, f"{found / 1e6:.2f}", f"{told / 1e6:.2f}"] for run, told, found in rows)
    print(summary(rows))


if __name__ == "__main__":
    main()
