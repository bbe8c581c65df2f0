"""Tell which family a network belongs to: the file of its zoo that defines it."""

from roofline.tracing import own


def family(name: str) -> str:
    """Name the family of a network of timm, torchvision or this package, such as `efficientnet`; empty for any other."""
    zoo, _, bare = name.rpartition(":")
    if zoo == "" and own.is_own(bare):
        return "amoebanet" if own.AMOEBANET.fullmatch(bare) else own.BASES[bare.rpartition("_w")[0]].module
    finders = {"": (_timm, _torchvision), "timm": (_timm,), "torchvision": (_torchvision,)}.get(zoo, ())
    return next((found for find in finders if (found := find(bare))), "")


def _timm(name: str) -> str:
    import timm

    bare = name.partition(".")[0]
    return _file_of(timm.model_entrypoint(bare)) if timm.is_model(bare) else ""


def _torchvision(name: str) -> str:
    import torchvision.models

    return _file_of(torchvision.models.get_model_builder(name)) if name in torchvision.models.list_models() else ""


def _file_of(function: object) -> str:
    return str(getattr(function, "__module__", "")).rpartition(".")[2]
