"""Sweep: trace and price many networks in parallel, keep each as it comes, and put the table together in the order asked for."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from roofline import units
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError
from roofline.studies.setting import ALL, Tell, quiet
from roofline.studies.sweep.parts import Parts, opened
from roofline.studies.sweep.pricing import Network
from roofline.studies.sweep.request import Request, ask, expand
from roofline.studies.sweep.result import Effort, Sweep
from roofline.studies.sweep.table import joined, libraries
from roofline.studies.sweep.workers import priced
from roofline.tracing.families import family

if TYPE_CHECKING:
    import pyarrow as pa


def sweep(
    models: str | Sequence[str],
    hardware: str | Hardware | Sequence[str | Hardware] = ALL,
    *,
    batches: Sequence[int] = (1,),
    precisions: Sequence[str] = ("fp32",),
    modes: Sequence[str] = ("eager",),
    layouts: Sequence[str] = ("nchw",),
    what_if: Sequence[str] = (),
    image_size: int | None = None,
    calibrated: bool = True,
    jobs: int | None = None,
    cluster: str | None = None,
    tell: Tell = quiet,
    finish: Callable[[Sweep], None] | None = None,
) -> Sweep:
    """Predict how each of *models* runs on each device at each batch size in every way: a table with a row for each combination.

    *models* are names and shell patterns of names (`efficientnet*`); *hardware* names devices, `all` every profile. What a device
    cannot run, and a network that cannot be traced, are rows that say why. Networks are traced through the cache by *jobs*
    processes (default: one for each core), or on the Dask *cluster* at an address such as `tcp://host:8786`. A sweep that was
    killed goes on when it is asked for again, and ends with the same table. *tell* is told what is being done and which share is
    done; *finish* is given the result before what was kept on the way is deleted, so that it can be written.
    """
    libraries()
    request, names = ask(
        hardware, batches=batches, precisions=precisions, modes=modes, layouts=layouts, what_if=what_if, image_size=image_size,
        calibrated=calibrated,
    ), expand(models)  # fmt: skip
    workers = _jobs(jobs)
    networks = tuple(Network(name, _family(name)) for name in names)
    with opened(request, names) as parts:
        effort = _price(networks, request, parts, workers, cluster, tell)
        result = Sweep(request, names, joined([_part(parts, name) for name in names]), effort)
        if finish is not None:
            tell("writing", 1.0)
            finish(result)
        parts.clear()
    return result


def _price(networks: Sequence[Network], request: Request, parts: Parts, jobs: int, cluster: str | None, tell: Tell) -> Effort:
    """Price the networks that are not kept yet, and keep each at once."""
    missing = [network for network in networks if parts.get(network.model) is None]
    kept, begun = len(networks) - len(missing), time.monotonic()
    jobs = min(jobs, max(len(missing), 1))
    tell(f"tracing and pricing {len(missing)} networks", kept / len(networks))
    with closing(priced(missing, request, jobs, cluster)) as found:
        for n, (network, data) in enumerate(found, 1):
            parts.put(network.model, data)
            tell(_progress(n, len(missing), time.monotonic() - begun), (kept + n) / len(networks))
    return Effort(len(missing), kept, jobs, time.monotonic() - begun)


def _progress(done: int, of: int, elapsed: float) -> str:
    """Write how many networks are priced, how fast, and how long the others will take at that rate."""
    rate = done / elapsed if elapsed > 0 else float("inf")
    left = "" if done == of else f", {_duration((of - done) / rate)} left"
    return f"{done:,} of {of:,} networks, {units.significant(rate, 2)}/s{left}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 100 else f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def _part(parts: Parts, name: str) -> "pa.Table":
    table = parts.get(name)
    if table is None:
        raise RooflineError(f"what was priced of {name} is gone from {str(parts.folder)!r}; give the same command again")
    return table


def _family(name: str) -> str:
    return "" if name.endswith(".pt2") else family(name)


def _jobs(jobs: int | None) -> int:
    """Return the number of processes asked for, by default the cores that this process may use."""
    if jobs is None:
        from joblib import cpu_count

        return cpu_count()
    if type(jobs) is not int or not 1 <= jobs <= 1024:
        raise RooflineError(f"bad number of processes {jobs!r}; use 1 to 1024")
    return jobs
