"""Price one network in every way that a sweep asks for: what a worker process does."""

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from roofline.costmodel.analysis import Analysis
from roofline.costmodel.analyze import analyze_grid, check_request
from roofline.costmodel.device import Hardware
from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.studies.cost import usd_per_million
from roofline.studies.sweep.request import Request, Way
from roofline.studies.sweep.table import FAILED, PRICED, UNSUPPORTED, to_bytes
from roofline.tracing.source import trace
from roofline.transforms.changes import parse_changes

Row = Mapping[str, Any]

LONGEST = 300
"""Characters of a reason that are kept."""

_ALONE = threading.Lock()
"""One graph at a time in a process, however many threads its scheduler gives it: that bounds the memory of a worker."""


@dataclass(frozen=True, slots=True)
class Network:
    """The name of a network and its family."""

    model: str
    family: str


def price_network(network: Network, request: Request) -> tuple[Network, bytes]:
    """Return *network* and its rows, as `table.to_bytes` writes them; whatever goes wrong with the network is in the rows."""
    with _ALONE, redirect_stdout(sys.stderr):  # what the user's code prints is no part of the result
        return network, to_bytes(_rows(network, request))


def lost(network: Network, request: Request, reason: str) -> bytes:
    """Write the rows of a network that could not be priced at all, for this *reason*."""
    return to_bytes(_failed(network, request, reason))


def _rows(network: Network, request: Request) -> list[Row]:
    try:
        graph = trace(network.model, image_size=request.image_size)
    except Exception as error:  # one network that cannot be traced must not end the sweep of a thousand others
        return _failed(network, request, _told(error))
    known = {**_named(network, request), "image_size": _image_size(graph)}
    return [{**known, **row} for way in request.ways for row in _way_rows(graph, request, way)]


def _failed(network: Network, request: Request, reason: str) -> list[Row]:
    known = {**_named(network, request), "status": FAILED, "reason": reason}
    return [{**known, **_where(way, device, batch)} for way in request.ways for device in request.hardware for batch in request.batches]


def _named(network: Network, request: Request) -> Row:
    return {"model": network.model, "family": network.family, "what_if": " ".join(request.changes)}


def _way_rows(graph: Graph, request: Request, way: Way) -> list[Row]:
    """Give a row for every device and batch size, in that order of nesting; devices that cannot run so say why."""
    reasons = {device.id: _lacks(device, request.batches, way) for device in request.hardware}
    able = [device for device in request.hardware if reasons[device.id] is None]
    try:
        priced = {(row["device"], row["batch"]): row for row in _priced(graph, able, request.batches, request, way)}
    except Exception as error:  # as above; the other ways may work
        refused = {"status": FAILED, "reason": _told(error)}
        priced = {(d.id, batch): {**refused, **_where(way, d, batch)} for d in able for batch in request.batches}
    return [
        priced.get((device.id, batch)) or {"status": UNSUPPORTED, "reason": reasons[device.id], **_where(way, device, batch)}
        for device in request.hardware
        for batch in request.batches
    ]


def _lacks(device: Hardware, batches: Sequence[int], way: Way) -> str | None:
    """Say why *device* runs nothing in this way; None where it does."""
    try:
        check_request((device,), batches, (way.precision,), way.mode, way.layout)
    except RooflineError as error:
        return _told(error)
    return None


def _priced(graph: Graph, devices: Sequence[Hardware], batches: Sequence[int], request: Request, way: Way) -> Iterator[Row]:
    """Price all at once; where that is refused, device by device and batch by batch, so that one refusal costs one row."""
    if not devices:
        return
    change = parse_changes(request.changes)
    try:
        analyses = analyze_grid(
            graph, devices, batches, precisions=(way.precision,), mode=way.mode, layout=way.layout, calibrated=request.calibrated,
            changes=request.changes, change=change,
        )  # fmt: skip
    except RooflineError as error:
        if len(devices) > 1:
            for device in devices:
                yield from _priced(graph, (device,), batches, request, way)
        elif len(batches) > 1:
            for batch in batches:
                yield from _priced(graph, devices, (batch,), request, way)
        else:
            yield {"status": UNSUPPORTED, "reason": _told(error), **_where(way, devices[0], batches[0])}
        return
    unknown = sum(count for count, _ in analyses[0].unknown.values())
    params = analyses[0].params
    for analysis in analyses:
        yield {**_figures(analysis), **_where(way, analysis.hardware, analysis.batch), "params": params, "unknown_ops": unknown}


def _where(way: Way, device: Hardware, batch: int) -> Row:
    return {"device": device.id, "batch": batch, "precision": way.precision, "mode": way.mode, "layout": way.layout}


def _figures(analysis: Analysis) -> Row:
    latency, (low, high) = analysis.latency, analysis.interval
    return {
        "status": PRICED,
        "macs": round(analysis.macs),
        "flops": round(analysis.flops),
        "bytes": analysis.bytes,
        "latency_seconds": latency,
        "low_seconds": low,
        "high_seconds": high,
        "throughput_items_per_second": analysis.throughput,
        "lower_bound_seconds": analysis.lower_bound,
        "bound": analysis.bound,
        **{f"{bound}_share": seconds / latency for bound, seconds in analysis.seconds_by_bound.items()},
        "peak_memory_bytes": analysis.peak_memory,
        "fits": analysis.peak_memory <= analysis.hardware.memory_size,
        "calibration": analysis.calibration.status,
        "usd_per_million_items": usd_per_million(analysis),
    }


def _image_size(graph: Graph) -> int | None:
    """Pixels a side of the first input, where it is an image."""
    first = next(iter(graph.inputs), None)
    return first.shape[-1] if first is not None and len(first.shape) == 4 else None


def _told(error: Exception) -> str:
    """Say in one line what went wrong; a mistake of the user's is told in its own words."""
    said = " ".join(str(error).split())
    text = said if isinstance(error, RooflineError) else f"{type(error).__name__}: {said}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
