"""Fit the time model to the published timings: writes hardware/calibration/published.yaml and benchmarks/results/left_out.csv.

    python benchmarks/fit.py [--jobs 2] [--iterations 250]

The first holds the parameters of every measured way of running a device, the second what fits predicted of rows that they
had not seen: folds over networks, folds over families, and each device left out in turn. Both take about half an hour.
"""

import argparse
import csv
import datetime
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from roofline.costmodel.analyze import half_type, image_order
from roofline.costmodel.calibration import Calibration
from roofline.costmodel.columns import Columns, tabulate
from roofline.costmodel.device import Hardware
from roofline.costmodel.hardware import load_hardware
from roofline.costmodel.profile.calibrations import read_calibrations, to_yaml
from roofline.costmodel.relatives import calibration_for
from roofline.costmodel.timemodel import price
from roofline.files import save
from roofline.measurement.fit import ITERATIONS, Fitted, Row, Run, fit, row_of
from roofline.measurement.published import Published, read
from roofline.measurement.spreads import evenly, of_run, percentiles
from roofline.tracing.source import trace
from roofline.transforms.changes import parse_changes
from roofline.transforms.modes import Way, check_layout, check_mode, execute
from roofline.transforms.precision import to_precision

HERE = Path(__file__).parent
CALIBRATIONS = HERE.parent / "hardware" / "calibration" / "published.yaml"
LEFT_OUT = HERE / "results" / "left_out.csv"
FOLDS = 10
SIZES = {"c5.2xlarge": "xeon-8124m", "c5.4xlarge": "xeon-8124m", "c5.18xlarge": "xeon-8124m"}
"""Devices that are sizes of one processor, and share its parameters."""
RELEASED = {
    "timm-rtx3090-eager-nchw": 2024, "timm-rtx3090-eager-nhwc": 2024, "timm-rtx4090-eager-nchw": 2025, "timm-rtx4090-eager-nhwc": 2024,
    "timm-rtx4090-compiled": 2025, "nvidia-v100-eager": 2021, "nvidia-t4-eager": 2021, "paddleclas-v100-engine": 2021,
    "paddle-t4-engine": 2021, "supergradients-t4-engine": 2022, "automl-v100-engine": 2021, "kecam-t4-engine": 2023,
    "ultralytics-t4-engine": 2024, "ultralytics-a100-engine": 2023,
}  # fmt: skip
"""Years in which the libraries came out that tables of GPUs timed: PyTorch 2.4 (timm names its files so, recalled), a later one where
networks of 2025 are in the table, and 1.9 (container 21.03); TensorRT 8.0, 8.4 (guess), 8.6 (the first for CUDA 12.0, recalled) and 10."""

ALL_SIZES = ("xeon-8124m", "c5.xlarge", "c5.2xlarge", "c5.4xlarge", "c5.9xlarge", "c5.18xlarge")


@dataclass(frozen=True)
class Item:
    """One published timing, its kernels as columns, and its row of the fit."""

    timing: Published
    hardware: Hardware
    columns: Columns
    row: Row

    @property
    def way(self) -> Way:
        """Give the mode, the layout (nchw where the source does not say) and whether a captured graph was replayed."""
        return way_of(self.timing)

    def predict(self, calibration: Calibration) -> float:
        """Predict seconds with the time model itself."""
        calibration = replace(calibration, mode=self.way.mode)
        return float(price(self.columns, self.hardware, calibration, self.way.layout, replayed=self.way.replayed).seconds.sum())

    @property
    def limit(self) -> float:
        """Seconds of the datasheet roofline."""
        return float(price(self.columns, self.hardware, Calibration(self.way.mode), self.way.layout).limit.sum())


def way_of(timing: Published) -> Way:
    """Tell how the network was run."""
    way = Way(check_mode(timing.mode), check_layout(timing.layout or "nchw"))
    return parse_changes(timing.what_if.split()).rerun(way)


def tabulated(job: tuple[tuple[str, int], list[tuple[int, Published]]]) -> list[tuple[int, Columns]]:
    """Trace one network and tabulate its kernels for every timing of it."""
    (model, size), timings = job
    graph, prepared, found = trace(model, image_size=size), {}, []
    for index, timing in timings:
        hardware, way = load_hardware(timing.device), way_of(timing)
        layout = image_order(way, hardware)
        key = (timing.precision, timing.mode, layout, timing.what_if, half_type(hardware))
        if key not in prepared:
            changed = parse_changes(timing.what_if.split())(to_precision(graph, timing.precision, lower=key[-1]))
            prepared[key] = execute(changed, way.mode, 0.0, layout)
        found.append((index, tabulate(prepared[key], [timing.batch])))
    return found


def load(jobs: int) -> list[Item]:
    """Tabulate all published timings on *jobs* processes."""
    timings = read()
    grouped: dict[tuple[str, int], list[tuple[int, Published]]] = defaultdict(list)
    for index, timing in enumerate(timings):
        grouped[timing.model, timing.image_size].append((index, timing))
    columns: dict[int, Columns] = {}
    with Pool(jobs) as pool:
        for done, found in enumerate(pool.imap_unordered(tabulated, sorted(grouped.items()), chunksize=4), 1):
            columns.update(found)
            say(f"networks {done}/{len(grouped)}", last=done == len(grouped))
    return [_item(timing, columns[i]) for i, timing in enumerate(timings)]


def _item(timing: Published, columns: Columns) -> Item:
    hardware, way = load_hardware(timing.device), way_of(timing)
    fresh = new_memory() * hardware.units if hardware.kind == "cpu" else None
    row = row_of(
        columns, hardware, way.mode, way.layout, timing.seconds, device=SIZES.get(timing.device, ""), source=timing.dataset,
        weight=0.0 if timing.excluded else 1.0, fresh=fresh, replayed=way.replayed,
    )  # fmt: skip
    return Item(timing, hardware, columns, row)


@lru_cache(maxsize=1)
def new_memory() -> float:
    """B/s at which a core first writes new memory, until a fit finds otherwise: as calibrated here, since no table tells of it."""
    return next(c.fresh for c in calibrated_here() if c.fresh)


def fitted_to(items: Sequence[Item], runs: Sequence[Run], iterations: int, what: str) -> Fitted:
    """Fit to *items*, and say so."""
    started = time.perf_counter()
    fitted = fit([item.row for item in items], runs=runs, iterations=iterations, tell=lambda n: say(f"{what}: {n} evaluations"))
    say(f"{what}: {len(items)} timings in {time.perf_counter() - started:.0f} s", last=True)
    return fitted


def calibrations(fitted: Fitted, items: Sequence[Item]) -> list[Calibration]:
    """Return the parameters of every run of *fitted*, with what they were fitted to."""
    used: dict[Run, list[Published]] = defaultdict(list)
    for item in items:
        if item.row.weight:
            used[item.row.run].append(item.timing)
    return [replace(fitted.calibration(run, **_about(run, used.get(run, []))), fresh=_fresh(run, fitted)) for run in fitted.model.runs]


def _fresh(run: Run, fitted: Fitted) -> float | None:
    return new_memory() * fitted.scalar(run, "fresh") if run.kind == "cpu" and run.mode != "engine" else None


def _about(run: Run, timings: Sequence[Published]) -> dict[str, object]:
    sets = ", ".join(sorted({timing.dataset for timing in timings}))
    data = sets or "no timings: offsets of the device and of the mode, found on others"
    devices = ALL_SIZES if run.device == "xeon-8124m" else (run.device,)
    precisions = tuple(sorted({timing.precision for timing in timings}))
    clock = load_hardware(run.device).clock if run.kind == "gpu" else None
    years = Counter(RELEASED.get(timing.dataset, 0) for timing in timings)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {
        "devices": devices,
        "precisions": precisions,
        "data": data,
        "date": date,
        "clock": clock,
        "released": max(years, key=lambda year: years[year], default=0),
    }


def beside(items: Sequence[Item]) -> list[Run]:
    """List the ways of running a measured GPU in which nobody timed it: they follow from what is known of both."""
    runs = {item.row.run for item in items}
    ways = sorted({(run.mode, run.layout or "") for run in runs if run.kind == "gpu"})
    return [replace(run, mode=mode, layout=layout or None) for run in sorted(runs, key=str) if run.kind == "gpu" for mode, layout in ways]


def assigned(items: Sequence[Item], key: str) -> list[int]:
    """Number the fold of each item: all with the same *key* share one, and every run is spread over as many folds as it can be."""
    sizes = Counter(item.row.run for item in items)
    groups: dict[str, Counter[Run]] = defaultdict(Counter)
    for item in items:
        groups[getattr(item.timing, key)][item.row.run] += 1
    filled, found = [Counter[Run]() for _ in range(FOLDS)], dict[str, int]()
    for name in sorted(groups, key=lambda name: (-sum(n / sizes[run] for run, n in groups[name].items()), name)):
        crowding = [sum(n * full[run] / sizes[run] ** 2 for run, n in groups[name].items()) for full in filled]
        found[name] = min(range(FOLDS), key=lambda fold: (crowding[fold], sum(filled[fold].values()), fold))
        filled[found[name]] += groups[name]
    return [found[getattr(item.timing, key)] for item in items]


def folds(items: Sequence[Item], fold: Sequence[int], iterations: int, what: str) -> list[float]:
    """Predict each item by a fit that saw nothing of its *fold*."""
    predicted = [0.0] * len(items)
    runs = sorted({item.row.run for item in items}, key=str)
    for f in range(FOLDS):
        seen = [item for item, g in zip(items, fold, strict=True) if g != f]
        known = dict(
            zip(
                (model := fitted_to(seen, runs, iterations, f"without {what} fold {f + 1}")).model.runs,
                calibrations(model, seen),
                strict=True,
            )
        )
        for i, item in enumerate(items):
            if fold[i] == f:
                predicted[i] = item.predict(known[item.row.run])
    return predicted


def devices(items: Sequence[Item], iterations: int) -> list[float]:
    """Predict each item by a fit that saw nothing of its device, with the rule for devices never measured."""
    predicted, own = [0.0] * len(items), calibrated_here()
    for device in sorted({item.timing.device for item in items}):
        seen = [item for item in items if item.timing.device != device]
        known = [c for c in calibrations(fitted_to(seen, (), iterations, f"without {device}"), seen) if c.samples] + own
        for i, item in enumerate(items):
            if item.timing.device == device:
                chosen = calibration_for(item.hardware, item.way.mode, item.way.layout, known)
                predicted[i] = item.predict(chosen)
    return predicted


def calibrated_here() -> list[Calibration]:
    """Return what `roofline calibrate` found on machines of this project, which is lent to other devices too."""
    return [c for path in sorted(CALIBRATIONS.parent.glob("*.yaml")) if path != CALIBRATIONS for c in read_calibrations(path)]


def with_spreads(
    found: Sequence[Calibration], items: Sequence[Item], networks: Sequence[float], others: Sequence[float]
) -> list[Calibration]:
    """Add to each calibration how wrong such predictions were: of networks left out, and (over all of its mode) of devices.

    Few devices tell how far off the next may be, not to which side: errors of devices are taken to either.
    A run with few networks takes the errors of its whole mode, in which each device counts alike, where its own are smaller.
    """
    measured = np.array([item.timing.seconds for item in items])
    used = np.array([item.row.weight > 0 for item in items])
    near, far = measured / np.array(networks), measured / np.array(others)
    done: list[Calibration] = []
    for c in found:
        mine = np.array([item.row.run.mode == c.mode and item.row.run.kind == c.kind for item in items]) & used
        own = mine & np.array([item.timing.device in c.devices and item.row.run.layout == c.layout for item in items])
        names = [item.timing.device for item, m in zip(items, mine, strict=True) if m]
        low, high = evenly(far[mine], names)
        elsewhere, pooled = (min(low, 1 / high), max(high, 1 / low)), evenly(near[mine], names)
        models = {item.timing.model for item, m in zip(items, own, strict=True) if m}
        spread = of_run(percentiles(near[own]), len(models), pooled) if models else elsewhere
        done.append(replace(c, spread=spread, elsewhere=elsewhere))
    return done


def write_left_out(items: Sequence[Item], fold: Sequence[int], columns: dict[str, Sequence[float]]) -> None:
    """Write one line per timing: what it was, the *fold* of its network, what was measured and what each fit predicted unseen."""
    LEFT_OUT.parent.mkdir(exist_ok=True)
    with LEFT_OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        facts = ("dataset", "device", "model", "family", "mode", "precision", "layout", "batch", "image_size")
        writer.writerow([*facts, "fold", "excluded", "measured_s", "limit_s", *columns])
        for i, item in enumerate(items):
            timing = item.timing
            row = [getattr(timing, name) for name in facts]
            numbers = [timing.seconds, item.limit, *(values[i] for values in columns.values())]
            writer.writerow([*row, fold[i], int(bool(timing.excluded)), *(f"{number:.4g}" for number in numbers)])


def say(text: str, *, last: bool = False) -> None:
    """Show progress on one line of a terminal; elsewhere, only what is final."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
    elif last:
        print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Fit, test the fits on what they did not see, and write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="processes that trace networks")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    options = parser.parse_args()
    items = load(options.jobs)
    fold = assigned(items, "model")
    networks = folds(items, fold, options.iterations, "network")
    families = folds(items, assigned(items, "family"), options.iterations, "family")
    others = devices(items, options.iterations)
    found = calibrations(fitted_to(items, beside(items), options.iterations, "all timings"), items)
    found = with_spreads(found, items, networks, others)
    comment = "Parameters of the time model, fitted to the tables of benchmarks/published by benchmarks/fit.py: do not edit."
    CALIBRATIONS.parent.mkdir(exist_ok=True)
    save(to_yaml(found, comment), CALIBRATIONS)
    write_left_out(items, fold, {"network_left_out_s": networks, "family_left_out_s": families, "device_left_out_s": others})
    print(f"wrote {CALIBRATIONS} and {LEFT_OUT}")


if __name__ == "__main__":
    main()
