"""Turn the name of a network into a module on the meta device and the shapes it takes.

`efficientnet_b3` (timm, then torchvision), `timm:NAME`, `torchvision:NAME`, `path/net.py:build` and
`package.module:callable` (both run that code), and `program.pt2` (a saved `torch.export` program).
"""

import copy
import difflib
import fnmatch
import importlib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.errors import ModelError, RooflineError, UnknownNameError
from roofline.tracing import own
from roofline.tracing.spec import BuiltModel, InputSpec, ModelSpec, make_inputs
from roofline.tracing.zoos import load

if TYPE_CHECKING:
    import torch


def build(spec: ModelSpec, device: str = "meta") -> BuiltModel:
    """Build the network that *spec* names; raise UnknownNameError or ModelError.

    On the meta device it has shapes only; on a real *device* the random weights that its own code draws. The example
    inputs are on the meta device in either case, and an exported program always is.
    """
    spec.check()
    if spec.file is not None:
        from roofline.tracing.exported import load_exported

        return load_exported(spec)
    if spec.runs_user_code:
        return _build_user(spec, device)
    zoo, name = resolve(spec.name)
    with _named_failure(spec.name):
        return {"timm": _build_timm, "torchvision": _build_torchvision, "roofline": _build_own}[zoo](spec, name, device)


def names(pattern: str = "*") -> tuple[str, ...]:
    """List the networks whose name matches the shell *pattern*: timm's by bare name, torchvision's as `torchvision:NAME`, then own ones."""
    known = [*_timm_names(), *(f"torchvision:{name}" for name in _torchvision_names()), *own.LISTED]
    pattern = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return tuple(name for name in known if fnmatch.fnmatchcase(name, pattern))


def _timm_names() -> list[str]:
    return list(load("timm").list_models())


def _in_timm(name: str) -> bool:
    return load("timm").is_model(name)


def _torchvision_names() -> list[str]:
    return list(load("torchvision.models").list_models())


def resolve(name: str) -> tuple[str, str]:
    """Find which zoo holds *name*: timm first, unless a prefix says otherwise."""
    zoo, _, bare = name.rpartition(":")
    if zoo == "" and own.is_own(bare):
        return "roofline", bare
    if zoo in ("", "timm") and _in_timm(bare.partition(".")[0]):
        return "timm", bare
    if zoo in ("", "torchvision") and bare in _torchvision_names():
        return "torchvision", bare
    known = {"timm": _timm_names, "torchvision": _torchvision_names}
    candidates = [*(n for z, lister in known.items() if zoo in ("", z) for n in lister()), *(own.LISTED if zoo == "" else ())]
    close = _closest(bare, candidates)
    hint = f"; did you mean {', '.join(close)}?" if close else ";"
    raise UnknownNameError(f"unknown model {name!r}{hint} `roofline models PATTERN` lists the known ones; your own: net.py:build")


def _closest(name: str, candidates: Sequence[str]) -> list[str]:
    """List the three *candidates* most like *name*, equals in alphabetical order."""
    near = difflib.get_close_matches(name, set(candidates), n=20)
    return sorted(near, key=lambda n: (-difflib.SequenceMatcher(None, n, name).ratio(), n))[:3]


def _on(device: str, make: "Callable[[], torch.nn.Module]") -> "torch.nn.Module":
    """Call *make* with every tensor on *device*; where its code needs numbers and meta has none, with only the parameters there."""
    import torch

    if device != "meta":
        with torch.device(device):
            return make()
    from roofline.tracing.blank import Uninitialised

    try:
        with torch.device("meta"), Uninitialised():
            return make()
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
    with _parameters_on_meta(), Uninitialised():
        return make()


@contextmanager
def _parameters_on_meta() -> Generator[None]:
    """Move each parameter to the meta device as it is registered, so that no more than one is allocated at a time."""
    import torch

    register = torch.nn.Module.register_parameter

    def register_on_meta(self: "torch.nn.Module", name: str, param: "torch.nn.Parameter | None") -> None:
        if param is not None and param.device.type != "meta":
            param = torch.nn.Parameter(torch.empty_like(param, device="meta"), requires_grad=param.requires_grad)
        register(self, name, param)

    torch.nn.Module.register_parameter = register_on_meta
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register


@contextmanager
def _named_failure(name: str) -> Generator[None]:
    try:
        yield
    except RooflineError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(f"cannot build {name}: {type(error).__name__}: {lines[0][:200]}") from error


def _build_timm(spec: ModelSpec, name: str, device: str) -> BuiltModel:
    import timm

    options: dict[str, Any] = {} if spec.in_chans is None else {"in_chans": spec.in_chans}
    module = _on(device, lambda: timm.create_model(name, pretrained=False, **options))
    configuration: Any = module.pretrained_cfg
    channels, own_size, _ = configuration.get("input_size", (3, 224, 224))
    size = spec.image_size or own_size
    if size != own_size:
        module = _at_image_size(name, size, options, device) or module
    channels = spec.in_chans or channels
    return _ready(_with_fast_norms(module, device), spec.inputs or (InputSpec((1, channels, size, size)),), device)


def _with_fast_norms(module: "torch.nn.Module", device: str) -> "torch.nn.Module":
    """Let timm's norm layers compute in half precision under autocast, as if `timm.layers.set_fast_norm()` had been called first.

    So its published timings were taken: with the casts to fp32 that autocast makes otherwise, several networks with
    layer or group norms would have moved more bytes than the memory of the GPU can in the time that was measured.
    On the meta device, where timm asks for an autocast that does not exist, they are only marked.
    """
    switch = "roofline_fast_norm" if device == "meta" else "_fast_norm"
    for layer in module.modules():
        if hasattr(layer, "_fast_norm"):
            vars(layer)[switch] = True
    return module


def _at_image_size(name: str, size: int, options: dict[str, Any], device: str) -> "torch.nn.Module | None":
    """Build a network whose weights depend on the image size (transformers); None where the size is no argument of it."""
    import timm

    try:
        return _on(device, lambda: timm.create_model(name, pretrained=False, img_size=size, **options))
    except TypeError:
        return None


def _build_torchvision(spec: ModelSpec, name: str, device: str) -> BuiltModel:
    import torchvision.models

    builder = torchvision.models.get_model_builder(name)
    if spec.in_chans not in (None, 3):
        raise ModelError(f"torchvision:{name} takes 3 input channels; drop --in-chans, or use a timm model, which can be built for others")
    classifier = name in torchvision.models.list_models(module=torchvision.models)
    if not classifier and not spec.inputs:
        raise ModelError(f"torchvision:{name} is no image classifier; say what it takes, such as --input 1,3,520,520")
    options: dict[str, Any] = {"image_size": spec.image_size} if spec.image_size and name.startswith("vit_") else {}
    if name == "googlenet":
        options["aux_logits"] = False  # its published weights have none: it is trained with them only
    if not classifier and "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about initialisation, which nobody sees here
        module = _on(device, lambda: builder(weights=None, **options))
    size = spec.image_size or getattr(module, "image_size", None) or _published_crop(name)
    return _ready(module, spec.inputs or (InputSpec((1, 3, size, size)),), device)


def _build_own(spec: ModelSpec, name: str, device: str) -> BuiltModel:
    load("timm")  # whose blocks they are made of
    channels, size = spec.in_chans or 3, spec.image_size or own.image_size(name)
    module = _on(device, lambda: own.make(name, channels))
    return _ready(module, spec.inputs or (InputSpec((1, channels, size, size)),), device)


def _published_crop(name: str) -> int:
    """Image size that the first published weights of a torchvision classifier were trained for."""
    import torchvision.models

    weights = next(iter(torchvision.models.get_model_weights(name)), None)
    transforms = getattr(weights, "transforms", None)
    return getattr(transforms, "keywords", {}).get("crop_size", 224)


def _build_user(spec: ModelSpec, device: str) -> BuiltModel:
    """Run the user's file or module, call the named function, and take the module it returns."""
    import torch

    with _user_failure(spec.name):
        make = _loaded(spec.name)
    module = make if isinstance(make, torch.nn.Module) else user_module(make, spec.name, device)
    size, channels = spec.image_size or 224, spec.in_chans or 3
    inputs = make_inputs(spec.inputs or (InputSpec((1, channels, size, size)),))
    from roofline.tracing.trace import meta_copy

    return BuiltModel(meta_copy(module) if device == "meta" else copy.deepcopy(module).eval(), inputs, trusted=False)


def load_function(name: str) -> Callable[..., Any]:
    """Run the user's file or module in *name* (`path/net.py:function`) and return the function; raise UnknownNameError or ModelError."""
    with _user_failure(name):
        found = _loaded(name)
    if not callable(found):
        raise ModelError(f"{name} is a {type(found).__name__}, not a function; name a function")
    return found


def user_module(make: "Callable[[], torch.nn.Module]", name: str, device: str = "meta") -> "torch.nn.Module":
    """Call the user's function *make*, called *name*, with every tensor on *device*; raise ModelError unless it gives a module."""
    import torch

    with _user_failure(name):
        module: Any = _on(device, make)
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{name} returned {type(module).__name__}, not a torch.nn.Module; return the network itself")
    return module


def _loaded(name: str) -> Any:
    source, _, attribute = name.rpartition(":")
    namespace = _load_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    return _attribute(namespace, attribute, source)


@contextmanager
def _user_failure(name: str) -> Generator[None]:
    """Say in one line what went wrong in the code that *name* points to."""
    source, _, attribute = name.rpartition(":")
    try:
        yield
    except RooflineError:
        raise
    except ModuleNotFoundError as error:
        if source.endswith(".py") or (error.name and not source.startswith(error.name)):
            raise ModelError(f"{name} failed: {error}") from error
        raise UnknownNameError(
            f"unknown model {name!r}: no module named {error.name!r}; for a file write path/to/net.py:{attribute}"
        ) from error
    except Exception as error:
        raise ModelError(f"{name} failed: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}") from error


def _attribute(namespace: Any, name: str, source: str) -> Any:
    if hasattr(namespace, name):
        return getattr(namespace, name)
    public = [n for n in vars(namespace) if not n.startswith("_")]
    raise UnknownNameError(f"{source} has no {name!r}; it defines {', '.join(public[:10]) or 'nothing'}")


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UnknownNameError(f"unknown model file {str(path)!r}: no such file")
    loader = importlib.util.spec_from_file_location(path.stem, path)
    if loader is None or loader.loader is None:
        raise ModelError(f"cannot read {path} as Python")
    module = importlib.util.module_from_spec(loader)
    folder, wrote = str(path.resolve().parent), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # an edit within a second would meet the old bytecode, and the folder is not ours
    try:
        loader.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = wrote
    return module


def _ready(module: "torch.nn.Module", inputs: Sequence[InputSpec], device: str) -> BuiltModel:
    return BuiltModel(module.to(device).eval(), make_inputs(inputs), trusted=True)
