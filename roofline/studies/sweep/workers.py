"""Run the networks of a sweep on processes of this machine, or of a Dask cluster, whatever becomes of a process."""

import signal
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any

from roofline.errors import RooflineError
from roofline.studies.sweep.pricing import Network, lost, price_network
from roofline.studies.sweep.request import Request

CONNECT = 10.0
"""Seconds to wait for a scheduler."""

_ONE_BY_ONE: dict[str, Any] = {"batch_size": 1}
"""Results are kept one by one, so tasks are sent one by one."""

DIED = "its worker process died; out of memory, or a crash of a library"


def priced(networks: Sequence[Network], request: Request, jobs: int, cluster: str | None = None) -> Generator[tuple[Network, bytes]]:
    """Give each network and its rows as soon as they are there, in any order, from *jobs* processes or the *cluster* at an address.

    A process that dies takes no network with it: those it may have had are tried again one at a time, and one that kills its process
    again is a failure of that network.
    """
    with _backend(cluster) as deaths:
        waiting = list(networks)
        while waiting:
            done: set[Network] = set()
            with suppress(*deaths):
                for network, data in _run(waiting, request, jobs):
                    done.add(network)
                    yield network, data
            waiting = [network for network in waiting if network not in done]
            for network in waiting[: (suspects := 4 * jobs)]:
                yield _alone(network, request, deaths)
            waiting = waiting[suspects:]


def _alone(network: Network, request: Request, deaths: tuple[type[BaseException], ...]) -> tuple[Network, bytes]:
    try:
        return next(_run([network], request, 2))
    except deaths:
        return network, lost(network, request, DIED)


def _run(networks: Sequence[Network], request: Request, jobs: int) -> Iterator[tuple[Network, bytes]]:
    import joblib

    parallel: Any = joblib.Parallel(jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs", **_ONE_BY_ONE)
    return parallel(joblib.delayed(price_network)(network, request) for network in networks)


def _leave_interrupts() -> None:
    """Leave an interrupt to the main process, which ends the others: between two networks, a worker would print a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _backend(cluster: str | None) -> Generator[tuple[type[BaseException], ...]]:
    """Choose where joblib runs what it is given, and tell by which errors the death of a process shows."""
    import joblib

    if cluster is None:
        with joblib.parallel_config(backend="loky", initializer=_leave_interrupts), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)  # one that grew too large, by design
            yield (BrokenProcessPool,)
        return
    try:
        from dask.distributed import Client, KilledWorker
    except ImportError as error:
        raise RooflineError(f"a sweep on a cluster needs {error.name}; install it with: pip install 'roofline[dask]'") from error
    try:
        client = Client(cluster, timeout=CONNECT)
    except (OSError, ValueError, TypeError) as error:
        raise RooflineError(f"cannot reach a Dask scheduler at {cluster!r}; give its address, such as tcp://host:8786") from error
    with client, joblib.parallel_config(backend="dask"):
        yield (KilledWorker,)
