"""Turn a module and its example inputs into a Graph, by recording every operator it calls on the meta device.

The recorder is a dispatch mode: it sees each aten call with its arguments, whatever Python wrote it. Under
`inference_mode` composite operators arrive whole (`conv2d`, `scaled_dot_product_attention`), as eager PyTorch runs them.
No weight is allocated: shapes and types flow, numbers do not, but for small constants of the code, which may decide what it does.
"""

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves

from roofline.errors import ModelError
from roofline.graph import FAST_NORM, UNFUSED, Graph, Kind, Op, Tensor, powers_of, singletons
from roofline.tracing.layouts import promised

BATCH_PROBE = 7919
"""Batch size at which a network is traced: a prime larger than any factor of its other sizes, so every size that it
divides is proportional to the batch, and the graph can be rewritten exactly for any batch."""

_SECOND_PROBE = 3

DTYPE_NAMES = {
    torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16",
    torch.float8_e4m3fn: "fp8", torch.float8_e5m2: "fp8", torch.int64: "int64", torch.int32: "int32",
    torch.int16: "int16", torch.int8: "int8", torch.bool: "bool",
    torch.uint64: "int64", torch.uint32: "int32", torch.uint16: "int16", torch.uint8: "int8",
    torch.complex64: "complex64", torch.complex128: "complex128",
}  # fmt: skip

WHOLE = frozenset({
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "matmul", "lstm", "gru",
    "rnn_tanh", "rnn_relu", "scaled_dot_product_attention", "batch_norm", "instance_norm", "layer_norm", "group_norm", "rms_norm",
    "softmax", "log_softmax", "avg_pool1d", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "adaptive_max_pool1d", "pad", "to", "type_as", "contiguous", "dropout", "feature_dropout", "alpha_dropout",
    "prelu", "square", "one_hot", "tile", "cosine_similarity", "reshape", "flatten", "reshape_as", "view_as", "expand_as", "unflatten",
    "chunk", "split", "swapaxes", "swapdims", "movedim", "moveaxis", "narrow", "meshgrid", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "repeat_interleave", "stack", "where", "var",
    "std", "log_sigmoid", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "floor_divide", "true_divide", "concat",
    "silu_backward", "mish_backward",
})  # fmt: skip
"""Composite operators that are kept as one op; every other composite is recorded as the operators it is made of."""

_NORMS = frozenset({
    "layer_norm", "group_norm", "rms_norm", "native_layer_norm", "native_group_norm", "native_layer_norm_backward",
    "native_group_norm_backward",
})  # fmt: skip

_UNRECORDED = frozenset({"device", "layout", "pin_memory", "generator"})
_RELABELS = frozenset({"detach_", "squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_", "as_strided_"})
"""In-place operators that write no memory: the tensor becomes a view of itself."""

_MOST_NUMBERS = 65_536
"""Elements of a tensor up to which the numbers of constants are computed: strides, sizes and indices are few."""

_NEEDS_VALUES = frozenset({"_local_scalar_dense", "item", "nonzero", "masked_select", "unique_consecutive", "_unique2", "equal"})


Runner = Callable[[torch.nn.Module, Sequence[torch.Tensor], str], Graph]
"""Runs a module once on inputs, and gives its graph the name."""


def record(
    module: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    *,
    name: str = "",
    verify: bool = True,
    fixed: bool = False,
    run: Runner | None = None,
) -> Graph:
    """Record one inference of *module* on meta tensors shaped like *inputs* and return it at the batch size of *inputs*.

    The first dimension shared by all inputs is the batch. The network runs at a prime batch size, so that the graph
    holds for every batch; with *verify* it runs a second time at another one, and where the two disagree (code that
    depends on the batch size) the graph is fixed at the shapes given, as it is with *fixed*. *run* records something else
    than an inference. Raises ModelError when the network cannot run.
    """
    run = run or _run
    batch = None if fixed else _common_batch(inputs)
    if batch is not None:
        try:
            buffers = [*module.buffers()]
            graph = _probe(module, inputs, name, run)
            other = run(module, _at_batch(inputs, _SECOND_PROBE), name) if verify else None
            filled = _keeps_tensors(module, buffers) if other is None else not _same(graph, other)
            if filled:  # perhaps the first run filled the network's own caches, which no later run does
                graph = _probe(module, inputs, name, run)
            if other is None or _same(graph, other):
                return graph.with_batch(batch)
        except ModelError:
            pass  # a network that runs at its own batch size only is traced there, below
    return replace(run(module, inputs, name), batch=None)


def meta_copy(module: torch.nn.Module) -> torch.nn.Module:
    """Copy *module* in evaluation mode with every parameter and buffer on the meta device; the original is untouched."""
    tensors = [*module.parameters(), *module.buffers()]
    memo: dict[int, Any] = {id(t): _meta_like(t) for t in tensors}
    try:
        return copy.deepcopy(module, memo).eval()
    except (TypeError, RuntimeError, AttributeError) as error:
        raise ModelError(f"cannot copy {type(module).__name__} ({_first_line(error)}); remove unpicklable attributes") from error


def _meta_like(tensor: torch.Tensor) -> torch.Tensor:
    meta = torch.empty_like(tensor, device="meta")
    return torch.nn.Parameter(meta, requires_grad=tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else meta


def _common_batch(inputs: Sequence[torch.Tensor]) -> int | None:
    sizes = {t.shape[0] for t in inputs if t.ndim}
    return sizes.pop() if len(sizes) == 1 and all(t.ndim for t in inputs) else None


def _at_batch(inputs: Sequence[torch.Tensor], batch: int) -> list[torch.Tensor]:
    return [torch.empty((batch, *t.shape[1:]), dtype=t.dtype, device="meta") for t in inputs]


def _probe(module: torch.nn.Module, inputs: Sequence[torch.Tensor], name: str, run: Runner) -> Graph:
    return _mark_batch(replace(run(module, _at_batch(inputs, BATCH_PROBE), name), batch=BATCH_PROBE))


def _keeps_tensors(module: torch.nn.Module, buffers: Sequence[torch.Tensor]) -> bool:
    """Tell whether *module* has another buffer than *buffers*, or holds a tensor that is neither parameter nor buffer."""
    if [*map(id, module.buffers())] != [*map(id, buffers)]:
        return True
    common = frozenset(vars(torch.nn.Module()))  # parameters, buffers, hooks: what every module has
    values = (value for m in module.modules() for name, value in vars(m).items() if name not in common)
    return any(_holds_tensor(value) for value in values if value.__class__ not in _ATOMS)


_ATOMS = frozenset({bool, int, float, str, type(None)})


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensor, value.values()))
    return any(map(_holds_tensor, value)) if isinstance(value, (list, tuple)) else isinstance(value, torch.Tensor)


def _mark_batch(graph: Graph) -> Graph:
    """Note on every size that the probe batch divides which power of the batch it is proportional to."""
    tensors = tuple(t if t.kind in ("weight", "buffer") else _marked(t) for t in graph.tensors)
    ops = tuple(replace(op, batch_attrs=powers) if (powers := _batch_attrs(op)) else op for op in graph.ops)
    return replace(graph, tensors=tensors, ops=ops)


def _marked(t: Tensor) -> Tensor:
    powers = _powers_of_shape(t.shape)
    return Tensor(t.id, t.shape, t.dtype, t.kind, t.storage, t.name, t.density, powers) if powers else t


@cache
def _powers_of_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return powers_of(shape, BATCH_PROBE) or ()


def _batch_attrs(op: Op) -> dict[str, Any]:
    powers = {key: powers_of(value, BATCH_PROBE) for key, value in op.attrs.items() if value.__class__ in (int, tuple)}
    return {key: power for key, power in powers.items() if power is not None}


def _same(graph: Graph, other: Graph) -> bool:
    """Tell whether rewriting *graph* for the batch of *other* gives the same tensors and ops."""
    rewritten = graph.with_batch(_SECOND_PROBE)
    plain = replace(
        rewritten,
        tensors=tuple(replace(t, batch_powers=()) for t in rewritten.tensors),
        ops=tuple(replace(op, batch_attrs={}) for op in rewritten.ops),
        batch=other.batch,
    )
    return plain == other


def _run(module: torch.nn.Module, inputs: Sequence[torch.Tensor], name: str) -> Graph:
    tape = Tape(name or type(module).__name__)
    for path, parameter in module.named_parameters():
        tape.add(parameter, "weight", path)
    for path, buffer in module.named_buffers():
        tape.add(buffer, "buffer", path)
    inputs = [t if t.device.type == "meta" else torch.empty_like(t, device="meta") for t in inputs]
    for i, tensor in enumerate(inputs):
        tape.add(tensor, "input", f"input{i}")
    interpret: Any = getattr(module, "roofline_run", None)  # an exported program brings its own interpreter
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(decomposed_attention())
        modules: Any = {path: type(m).__name__ for path, m in module.named_modules()} if interpret is None else module.modules_by_path
        stack.enter_context(module_paths(module, tape))
        fast = stack.enter_context(fast_norms(module))
        stack.enter_context(needless_copies(stack.enter_context(Recorder(tape))))
        try:
            result = module(*inputs) if interpret is None else interpret(tape, inputs)
        except ModelError:
            raise
        except Exception as error:
            raise failure(error, name or type(module).__name__, inputs) from error
    return with_fast_norms(tape.graph(result, name, modules), fast)


def failure(error: Exception, name: str, inputs: Sequence[torch.Tensor]) -> ModelError:
    """Say that the network called *name* failed on *inputs*."""
    shapes = ", ".join("x".join(map(str, t.shape[1:])) for t in inputs)
    return ModelError(f"{name} failed on an input of {shapes} per item: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextmanager
def decomposed_attention() -> Generator[None]:
    """Switch off the fused encoder path, so that attention layers show their linear layers and their attention op."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def fast_norms(module: torch.nn.Module) -> Generator[frozenset[str]]:
    """Give the paths of timm's norm layers that keep autocast from widening them to fp32, and hold them to PyTorch's own operators.

    Where timm would call Apex, or ask for an autocast of the meta device, they could not run (timm/layers/fast_norm.py).
    """
    fast = {path: m for path, m in module.named_modules() if getattr(m, "_fast_norm", False) is True}
    marked = {path for path, m in module.named_modules() if hasattr(m, "roofline_fast_norm")}
    for m in fast.values():
        vars(m)["_fast_norm"] = False
    try:
        yield frozenset({*fast, *marked})
    finally:
        for m in fast.values():
            vars(m)["_fast_norm"] = True


def with_fast_norms(graph: Graph, paths: frozenset[str]) -> Graph:
    """Mark the norms of the layers at *paths*: `amp` leaves them in half precision."""

    def marked(op: Op) -> Op:
        return replace(op, attrs={**op.attrs, FAST_NORM: True}) if op.module in paths and op.name in _NORMS else op

    return replace(graph, ops=tuple(map(marked, graph.ops))) if paths else graph


@contextmanager
def module_paths(module: torch.nn.Module, tape: "Tape") -> Generator[None]:
    """Keep *tape.path* at the path of the innermost module that is running."""
    paths = {id(m): path for path, m in module.named_modules()}
    stack: list[str] = []

    def enter(current: torch.nn.Module, args: Any) -> None:
        stack.append(tape.path)
        tape.path = paths.get(id(current), tape.path)

    def leave(current: torch.nn.Module, args: Any, output: Any) -> None:
        tape.path = stack.pop()

    before = torch.nn.modules.module.register_module_forward_pre_hook(enter)
    after = torch.nn.modules.module.register_module_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def needless_copies(recorder: "Recorder") -> Generator[None]:
    """Let *recorder* write down each call of `Tensor.contiguous` that finds its tensor in order: in another layout it may not.

    PyTorch answers such a call before an operator is dispatched. Those of its own meta kernels, which run while nothing is recorded,
    are not the network's.
    """
    kind: Any = torch.Tensor
    plain, asked = kind.contiguous, False

    def contiguous(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal asked
        if asked:  # a function mode, such as that of a device, calls the method once more
            return plain(tensor, *args, **kwargs)
        asked = True
        try:
            found = plain(tensor, *args, **kwargs)
        finally:
            asked = False
        if found is tensor and tensor.device.type == "meta" and _get_current_dispatch_mode() is recorder:
            recorder.tape.write(signature_of(torch.ops.aten.contiguous.default), (tensor,), kwargs, tensor)
        return found

    kind.contiguous = contiguous
    try:
        yield
    finally:
        del kind.contiguous  # which shows that of its base class again


class Recorder(TorchDispatchMode):
    """Run each operator on meta tensors and write it on the tape."""

    def __init__(self, tape: "Tape") -> None:
        super().__init__()
        self.tape = tape

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that this mode needs no guard against the compiler, which is slow to import."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        signature = signature_of(func)
        kwargs = dict(kwargs or {})
        known = self.tape.knows((*args, *kwargs.values()))
        if signature.packet in _NEEDS_VALUES or (signature.packet == "index" and _selects(args[1])):
            if known:
                return func(*args, **kwargs)
            reads = f"its code reads the values of a tensor (aten.{signature.packet}), and a trace has shapes only"
            raise ModelError(f"cannot trace {self.tape.name}: {reads}")
        if signature.factory:
            kwargs["device"] = "meta"
        if signature.composite and known:
            with self:
                return func.decompose(*args, **kwargs)
        numbers = func(*args, **kwargs) if known else None
        if signature.written and not known:
            self.tape.forget(signature, args, kwargs)
        args = tuple(map(self.tape.on_meta, args))
        kwargs = {key: self.tape.on_meta(value) for key, value in kwargs.items()}
        if signature.composite:
            with self:
                return func.decompose(*args, **kwargs)
        if is_unfused(signature, args):
            return self._in_parts(func, args, kwargs)
        result = self.tape.run(func, args, kwargs)
        self.tape.write(signature, args, kwargs, result)
        return self.tape.keep(numbers, result) if known else result

    def _in_parts(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before, self.tape.marks = self.tape.marks, {UNFUSED: True}
        try:
            with self:
                return func.decompose(*args, **kwargs)
        finally:
            self.tape.marks = before


_Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]
"""Shape, strides and type of a tensor: all that an operator on the meta device reads or makes."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the recorder needs of an operator's schema."""

    packet: str
    names: tuple[str, ...]
    defaults: dict[str, Any]
    written: frozenset[str]
    factory: bool
    composite: bool


@cache
def signature_of(func: Any) -> Signature:
    """Read what the recorder needs from the schema of an aten operator."""
    schema = func._schema
    names = tuple(a.name for a in schema.arguments)
    defaults = {a.name: _plain(a.default_value) for a in schema.arguments if a.has_default_value() and a.name not in _UNRECORDED}
    written = frozenset(a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write)
    namespace, packet = schema.name.split("::", 1)
    takes_tensors = any("Tensor" in str(a.type) for a in schema.arguments)
    packet = packet if namespace == "aten" else f"{namespace}.{packet}"
    if packet in _RELABELS:
        packet, written = packet.removesuffix("_"), frozenset[str]()
    composite = packet not in WHOLE and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return Signature(packet, names, defaults, written, "device" in names and not takes_tensors, composite)


def is_unfused(signature: Signature, args: Sequence[Any]) -> bool:
    """Tell an attention that PyTorch runs as its parts: fused kernels take four dimensions (aten/.../sdp_utils_cpp.h, recalled)."""
    return signature.packet == "scaled_dot_product_attention" and args[0].ndim != 4


@dataclass(slots=True)
class Tape:
    """Collect tensors and ops while the network runs; the only mutable object of this module.

    A tensor is known by `key`, which must be its own as long as the tape runs: `hold` sees to that.
    """

    name: str
    path: str = ""
    marks: dict[str, Any] = field(default_factory=dict)  # attributes of what is written now
    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    ids: dict[Any, int] = field(default_factory=dict)  # key of a live torch tensor -> its current Tensor id
    roots: dict[int, int] = field(default_factory=dict)  # storage -> id of the tensor that owns it
    overwritten: dict[int, int] = field(default_factory=dict)  # root -> id of the last in-place result in it
    alive: list[Any] = field(default_factory=list)  # keeps tensors and storages alive, as id() is reused after death
    metas: dict[int, torch.Tensor] = field(default_factory=dict)
    results: dict[Any, _Layout | list[_Layout | None]] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set[int])  # storages that held numbers until shapes were written over them

    def add(self, tensor: torch.Tensor, kind: Kind, name: str = "") -> int:
        """Give *tensor* the next id; a tensor in known memory shares its storage."""
        new = len(self.tensors)
        storage = tensor.untyped_storage()
        root = self.roots.setdefault(storage._cdata, new)
        shape = tuple(int(n) for n in tensor.shape)
        dtype = DTYPE_NAMES.get(tensor.dtype)
        if dtype is None:
            known = ", ".join(sorted(set(DTYPE_NAMES.values())))
            raise ModelError(f"cannot trace {self.name}: it uses the data type {tensor.dtype}, which has no cost model; use one of {known}")
        self.tensors.append(Tensor(new, shape, dtype, kind, root, name))
        self.ids[self.key(tensor)] = new
        self.hold(tensor, storage)
        return new

    def key(self, tensor: torch.Tensor) -> Any:
        """Tell *tensor* from every other one."""
        return id(tensor)

    def hold(self, tensor: torch.Tensor, storage: torch.UntypedStorage) -> None:
        """Keep what `key` and the address of *storage* are made of from being used again."""
        self.alive += (tensor, storage)

    def on_meta(self, value: Any) -> Any:
        """Replace tensors that hold numbers (constants the code made itself) by their meta twins."""
        if isinstance(value, torch.Tensor):
            if value.device.type == "meta":
                return value
            if id(value) not in self.metas:
                with torch.inference_mode(value.is_inference()):  # of one sort, or PyTorch refuses to take a view of the other
                    self.metas[id(value)] = torch.empty_like(value, device="meta")
                self.alive.append(value)
            return self.metas[id(value)]
        if isinstance(value, (list, tuple)) and any(isinstance(item, torch.Tensor) for item in value):
            return type(value)(map(self.on_meta, value))
        return value

    def knows(self, values: Sequence[Any]) -> bool:
        """Tell whether *values* hold tensors, each a small constant of the code or what follows from such: their numbers are at hand."""
        tensors = [t for value in values for t in tensors_in(value)]
        return bool(tensors) and all(map(self._is_known, tensors))

    def _is_known(self, tensor: torch.Tensor) -> bool:
        if tensor.device.type == "meta" or tensor.requires_grad or tensor.numel() > _MOST_NUMBERS:
            return False
        return tensor.untyped_storage()._cdata not in self.forgotten

    def keep(self, numbers: Any, result: Any) -> Any:
        """Take the tensors of *result* for those of *numbers* wherever these are used; return the latter."""
        for number, twin in zip(tensors_in(numbers), tensors_in(result), strict=True):
            if number.device.type != "meta":
                self.metas[id(number)] = twin
                self.alive.append(number)
        return numbers

    def forget(self, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Know the numbers of a constant no longer, once something is written into it that has none."""
        written = (value for role, value in [*zip(signature.names, args, strict=False), *kwargs.items()] if role in signature.written)
        self.forgotten.update(t.untyped_storage()._cdata for value in written for t in tensors_in(value) if t.device.type != "meta")

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call *func*, or repeat what it made of the same layouts and numbers before: its meta kernel may be slow Python."""
        key = (func, tuple(map(_call_key, args)), tuple((role, _call_key(value)) for role, value in kwargs.items()))
        known = self.results.get(key)
        if known is not None:
            return tuple(map(_made, known)) if isinstance(known, list) else _made(known)
        result: Any = promised(func, args, kwargs)
        result, given = func(*args, **kwargs) if result is None else result, (*args, *kwargs.values())
        if _is_fresh(result, given):
            self.results[key] = _layout(result)
        elif type(result) is tuple and all(t is None or _is_fresh(t, given) for t in result):
            self.results[key] = [None if t is None else _layout(t) for t in result]
        return result

    def read(self, tensor: torch.Tensor) -> int:
        """Return the id of *tensor*, after an alias op if its memory was overwritten through another view."""
        known = self.ids.get(self.key(tensor))
        if known is None:
            return self.add(tensor, "buffer")
        last = self.overwritten.get(self.tensors[known].storage, -1)
        if last <= known:
            return known
        renamed = self.add(tensor, "activation")
        self.ops.append(Op(len(self.ops), "alias", self.path, (known, last), (renamed,), ("self", "written")))
        return renamed

    def write(self, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Append the op that turned *args* into *result*."""
        inputs: list[int] = []
        roles: list[str] = []
        attrs = {**signature.defaults, **self.marks}
        mutated: list[torch.Tensor] = []
        for role, value in [*zip(signature.names, args, strict=False), *kwargs.items()]:
            tensors = tensors_in(value)
            if tensors:
                attrs.pop(role, None)
                inputs += map(self.read, tensors)
                roles += [role] * len(tensors)
                mutated += tensors if role in signature.written else []
            elif role not in _UNRECORDED:
                attrs[role] = _plain(value)
        results = tensors_in(result)
        outputs = tuple(self.add(t, "activation") for t in {id(t): t for t in (*mutated, *results)}.values())
        for output in outputs if mutated else ():
            self.overwritten[self.tensors[output].storage] = output
        name = signature.packet.removesuffix("_") if mutated else signature.packet
        self.ops.append(Op(len(self.ops), name, self.path, tuple(inputs), outputs, tuple(roles), attrs, inplace=bool(mutated)))

    def graph(self, result: Any, name: str, modules: dict[str, str]) -> Graph:
        """Freeze what was recorded; the tensors found in *result* are the outputs."""
        keys = map(self.key, _nested_tensors(result))
        outputs = tuple(dict.fromkeys(self.ids[key] for key in keys if key in self.ids))
        ops = tuple(self.ops)
        return Graph(tuple(self.tensors), ops, singletons(ops), outputs, name=name, modules=modules)


def _layout(tensor: torch.Tensor) -> _Layout:
    return tensor.shape, tensor.stride(), tensor.dtype


def _made(layout: _Layout | None) -> torch.Tensor | None:
    return None if layout is None else torch.empty_strided(layout[0], layout[1], dtype=layout[2], device="meta")


def _call_key(value: Any) -> Any:
    """Tell apart all arguments that a meta kernel can tell apart (an int from a float, too: they promote differently)."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype
    return tuple(map(_call_key, value)) if isinstance(value, (list, tuple)) else (type(value), value)


def _is_fresh(result: Any, args: tuple[Any, ...]) -> bool:
    """Tell whether *result* is one tensor that fills memory of its own: not a view, not an overwritten argument."""
    if type(result) is not torch.Tensor or result.storage_offset():
        return False
    storage = result.untyped_storage()
    shared = any(t.untyped_storage()._cdata == storage._cdata for value in args for t in tensors_in(value))
    return not shared and storage.nbytes() == result.numel() * result.itemsize


def tensors_in(value: Any) -> list[torch.Tensor]:
    """List the tensors that one argument or result of an operator holds."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [item for item in value if isinstance(item, torch.Tensor)] if isinstance(value, (list, tuple)) else []


def _selects(indices: Any) -> bool:
    """Tell whether a mask is among *indices*: how many elements it selects depends on its values."""
    return any(t.dtype in (torch.bool, torch.uint8) for t in tensors_in(indices))


def _nested_tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return DTYPE_NAMES.get(value, str(value)) if isinstance(value, torch.dtype) else str(value)
