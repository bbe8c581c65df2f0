"""Prices in bulk are those of `analyze`, to the last bit; axes, reasons and refusals."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import Residual, cnns, traced
from torch import nn

import roofline
from roofline.costmodel.analyze import analyze_grid
from roofline.costmodel.bulk import AXES, Prices, price_all
from roofline.costmodel.columns import tabulate
from roofline.costmodel.demand import demand
from roofline.errors import RooflineError, UnsupportedError
from roofline.graph import Graph

DEVICES = tuple(roofline.load_hardware(name) for name in ("t4", "c5.2xlarge", "a100-40gb", "v100", "i9-10940x"))
BATCHES, PRECISIONS, MODES = (1, 3, 64), ("fp32", "amp", "bf16", "int8"), ("eager", "compiled", "engine", "ideal")


def network(name: str) -> Graph:
    """Trace a small network of two repeated blocks."""
    repeated = [Residual(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())) for _ in range(3)]
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return replace(traced(nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), *repeated, *ends), (2, 3, 32, 32)), name=name)


def check(found: Prices, graph: Graph, layout: str = "nchw") -> None:
    """Compare every cell of *graph* with its own analysis."""
    figures = np.stack([found.latency, found.low, found.high, found.limit], axis=-1)[found.labels["model"].index(graph.name)]
    for (d, device), (p, precision), (m, mode) in product(enumerate(DEVICES), enumerate(PRECISIONS), enumerate(MODES)):
        here = figures[d, :, p, m]
        try:
            analyses = analyze_grid(graph, [device], BATCHES, precisions=[precision], mode=mode, layout=layout)
        except UnsupportedError as error:
            assert np.isnan(here).all()
            assert found.reasons[graph.name, device.id, precision, mode] == str(error)
        else:
            assert here.tolist() == [[a.latency, *a.interval, a.lower_bound] for a in analyses]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_every_cell_is_what_analyze_predicts(layout: str) -> None:
    graphs = [network("one"), replace(traced(nn.Linear(64, 64), (2, 64)), name="two")]
    found = price_all(graphs, DEVICES, BATCHES, precisions=PRECISIONS, modes=MODES, layout=layout)
    assert found.latency.shape == (2, len(DEVICES), len(BATCHES), len(PRECISIONS), len(MODES))
    for graph in graphs:
        check(found, graph, layout)
    assert {device for _, device, precision, _ in found.reasons if precision == "bf16"} == {"t4", "v100", "i9-10940x", "c5.2xlarge"}


@given(cnns())
@settings(max_examples=15, deadline=None)
def test_any_network_is_priced_as_analyze_does(drawn: Graph) -> None:
    graph = replace(drawn, name="net")
    check(price_all([graph], DEVICES, BATCHES, precisions=PRECISIONS, modes=MODES), graph)


def test_a_device_alone_has_the_prices_it_has_among_others() -> None:
    graph, modes = network("net"), ("eager", "engine")
    together = price_all([graph], DEVICES, BATCHES, modes=modes)
    for device in DEVICES:
        assert (price_all([graph], [device], BATCHES, modes=modes).latency == together.at(device=device.id).latency).all()


def test_kernels_that_ask_the_same_are_priced_once() -> None:
    columns = tabulate(network("net"), BATCHES)
    asked = demand(columns, (-1.0, 1e6))
    few, which = asked.distinct()
    assert few.shape[1] < asked.shape[1] == len(which) == columns.size
    assert (few.take(which).through == asked.through).all()
    assert (few.take(which).matrix_flops == asked.matrix_flops).all()


# --- the arrays --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prices() -> Prices:
    """Price a small network on a device with bf16 and one without."""
    return roofline.price([network("net")], ["t4", "a100-40gb"], [1, 8], ["fp32", "bf16"], "engine")


def test_labels_name_every_position(prices: Prices) -> None:
    assert tuple(prices.labels) == AXES
    assert prices.labels == {
        "model": ("net",), "device": ("t4", "a100-40gb"), "batch": (1, 8), "precision": ("fp32", "bf16"), "mode": ("engine",),
    }  # fmt: skip
    one = prices.at(device="a100-40gb", batch=8, precision="bf16")
    assert one.latency.shape == (1, 1, 1, 1, 1)
    assert (
        one.latency.item()
        == prices.latency[0, 1, 1, 1, 0]
        == roofline.analyze(network("net"), "a100-40gb", batch=8, precision="bf16", mode="engine").latency
    )
    assert one.throughput.item() == 8 / one.latency.item()
    assert one.low.item() < one.latency.item() < one.high.item()
    assert one.limit.item() < one.latency.item()


def test_reasons_follow_the_cells_they_are_of(prices: Prices) -> None:
    assert list(prices.reasons) == [("net", "t4", "bf16", "engine")]
    assert "bf16" in prices.reasons["net", "t4", "bf16", "engine"]
    assert prices.at(device="a100-40gb").reasons == prices.at(precision="fp32").reasons == {}
    assert prices.at(device="t4").reasons == prices.reasons


def test_a_frame_has_a_row_for_each_cell(prices: Prices) -> None:
    frame = prices.to_pandas()
    assert list(frame.columns) == [*AXES, "latency_seconds", "low_seconds", "high_seconds", "limit_seconds"]
    assert len(frame) == prices.latency.size
    row = frame[(frame.device == "a100-40gb") & (frame.batch == 8) & (frame.precision == "fp32")]
    assert row.latency_seconds.item() == prices.at(device="a100-40gb", batch=8, precision="fp32").latency.item()


# --- refusals ----------------------------------------------------------------------------------------------------------

REFUSED = {
    "no graph": ({"graphs": []}, "each model must be given once, and one at least; got none"),
    "a model twice": ({"graphs": [network("net"), network("net")]}, "each model must be given once, and one at least; got net, net"),
    "a device twice": ({"devices": ["t4", "t4"]}, "each device must be given once"),
    "batch zero": ({"batches": 0}, "bad batch size 0"),
    "an unknown precision": ({"precisions": "fp17"}, "unknown precision 'fp17'"),
    "an unknown mode": ({"modes": "fast"}, "unknown mode 'fast'"),
    "an unknown device": ({"devices": "t5"}, "unknown hardware 't5'"),
    "only views": ({"graphs": replace(traced(nn.Flatten(), (2, 3, 4)), name="flat")}, "flat runs no kernel"),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_requests_are_told(changed: dict[str, object], message: str) -> None:
    asked = {"graphs": network("net"), "devices": "t4", **changed}
    with pytest.raises(RooflineError, match=message):
        roofline.price(**asked)


def test_a_label_that_is_not_there_is_told(prices: Prices) -> None:
    with pytest.raises(RooflineError, match="no device 'v100' here; there are t4, a100-40gb"):
        prices.at(device="v100")
    with pytest.raises(RooflineError, match="no axis 'devices'; use one of model, device"):
        prices.at(devices="t4")
