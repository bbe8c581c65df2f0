"""Build devices of round numbers, so that the seconds a test expects can be worked out by hand."""

from roofline.costmodel.device import DeviceKind, Engine, EngineKind, Figure, Hardware, MemoryLevel, Overheads


def figure(value: float) -> Figure:
    """Give *value* a source."""
    return Figure(value, "hand", "assumed")


def engine(kind: EngineKind, dtype: str, peak: float, ceiling: float) -> Engine:
    """Make an engine of *peak* FLOP/s, of which tuned code reaches *ceiling*."""
    return Engine(kind, dtype, kind, peak, ceiling, figure(peak), figure(ceiling), per_clock=100, clock=1e9)


def level(name: str, size: float, peak: float, copy: float) -> MemoryLevel:
    """Make a memory level of *size* bytes, *peak* B/s on paper and *copy* B/s in practice."""
    return MemoryLevel(name, size, peak, copy, copy, copy, figure(size), figure(peak), figure(copy), figure(copy), figure(copy))


VECTOR = engine("vector", "fp32", 1e12, 0.5e12)
MATRIX = engine("matrix", "fp16", 8e12, 4e12)
HALF = engine("vector", "fp16", 2e12, 1e12)
DRAM = level("dram", 8e9, 100e9, 80e9)
L2 = level("l2", 1e6, 1000e9, 400e9)


def device(
    *,
    kind: DeviceKind = "gpu",
    units: int = 10,
    engines: tuple[Engine, ...] = (VECTOR, HALF, MATRIX),
    memory: tuple[MemoryLevel, ...] = (DRAM,),
    launch: float = 2e-6,
    graph: float = 1e-6,
    host_op: float = 10e-6,
    host_view: float = 4e-6,
) -> Hardware:
    """Make a device: 0.5 of 1 TFLOP/s in fp32, 4 of 8 on the fp16 matrix engine, 80 of 100 GB/s, 10 units, no cache."""
    overheads = Overheads(figure(launch), figure(graph), figure(graph), figure(host_op), figure(host_view))
    return Hardware("hand", "Hand-made", kind, "none", "none", units, "SM", 1e9, None, engines, memory, overheads)
