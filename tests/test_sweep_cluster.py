"""A sweep on a Dask cluster gives the same table as one on this machine, also when a worker is killed in the middle."""

import os
import signal
from collections.abc import Iterator

import pytest

from roofline.studies.sweep.run import sweep

pytest.importorskip("distributed")

MODELS = "test_*net*"


@pytest.fixture
def cluster() -> Iterator[object]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as made:
        yield made


@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_is_killed_loses_nothing_and_counts_nothing_twice(cluster: object) -> None:
    local = sweep(MODELS, ["t4", "v100"], batches=(1, 8), jobs=1)
    killed: list[int] = []

    def tell(what: str, share: float) -> None:
        if share > 0.2 and not killed:
            worker = next(iter(cluster.workers.values()))  # type: ignore[attr-defined]
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    spread = sweep(MODELS, ["t4", "v100"], batches=(1, 8), cluster=cluster.scheduler_address, tell=tell)  # type: ignore[attr-defined]
    assert killed
    assert spread.table.equals(local.table)
    assert len({(row["model"], row["device"], row["batch"]) for row in spread.table.to_pylist()}) == len(spread) == 4 * len(local.models)
