"""Turn the name of a device into its Hardware: find the profile and read it."""

import os
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from roofline.costmodel.device import Hardware
from roofline.errors import ProfileError, UnknownNameError

DEFAULT_CPU = "c5.2xlarge"
"""The device that the name `cpu` stands for."""


def names() -> tuple[str, ...]:
    """List the ids of all profiles that can be loaded by name, sorted."""
    return tuple(sorted({stem for folder in _folders() for stem in _profiles(folder)}))


def load_hardware(name_or_path: str | Path | Hardware) -> Hardware:
    """Load a device by id, alias or YAML file: `load_hardware("t4")`; `host` is this machine, `cpu` a c5.2xlarge.

    Looks in $ROOFLINE_HARDWARE, then in the user's configuration folder, then among the bundled profiles.
    """
    if isinstance(name_or_path, Hardware):
        return name_or_path
    if isinstance(name_or_path, Path) or _looks_like_path(name_or_path):
        return _read(Path(name_or_path))
    name = name_or_path.strip().lower()
    path = find(name)
    if path is not None:
        return _read(path)
    if name == "cpu":
        return _default_cpu()
    if name == "host":
        from roofline.costmodel.host import detect

        return detect()
    raise UnknownNameError(_unknown(name_or_path))


def find(name: str) -> Path | None:
    """Find the profile whose id, or else one of whose aliases, is *name* in any case."""
    wanted = name.strip().lower()
    path = next((profiles[wanted] for folder in _folders() if wanted in (profiles := _profiles(folder))), None)
    if path is not None or wanted in ("cpu", "host"):
        return path
    return next((path for alias, path in _aliases() if alias == wanted), None)


def _looks_like_path(name: str) -> bool:
    return name.lower().endswith((".yaml", ".yml")) or os.sep in name or "/" in name


def _folders() -> tuple[Path, ...]:
    return (*_environment_folder(), user_folder(), bundled_folder())


def _environment_folder() -> tuple[Path, ...]:
    value = os.environ.get("ROOFLINE_HARDWARE")
    if not value:
        return ()
    if not Path(value).is_dir():
        raise ProfileError(f"ROOFLINE_HARDWARE={value}: no such folder; set it to a folder of profiles, or unset it")
    return (Path(value),)


def user_folder() -> Path:
    """Return the folder of the user's own profiles."""
    from platformdirs import user_config_dir

    return Path(user_config_dir("roofline")) / "hardware"


@lru_cache(maxsize=1)
def bundled_folder() -> Path:
    """Return the folder of the profiles that come with the package."""
    package = Path(__file__).resolve().parents[1]
    return shipped if (shipped := package / "_hardware").is_dir() else package.parent / "hardware"


def _profiles(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    stems = (os.path.splitext(name) for name in sorted(os.listdir(folder)))  # noqa: PTH122, PTH208 - three times as fast
    return {stem.lower(): folder / f"{stem}{suffix}" for stem, suffix in stems if suffix in (".yaml", ".yml")}


def _aliases() -> Iterator[tuple[str, Path]]:
    for path in (path for folder in _folders() for path in _profiles(folder).values()):
        try:
            hardware = _read(path)
        except ProfileError:  # a broken file must not hide the others; `hardware check` reports it
            continue
        yield from ((alias.lower(), path) for alias in hardware.aliases)


def _read(path: Path) -> Hardware:
    try:
        modified = path.stat().st_mtime_ns
    except (OSError, ValueError):  # `read` says what is wrong; a ValueError is a NUL in the name
        modified = 0
    return _read_cached(path, modified)


@lru_cache(maxsize=256)
def _read_cached(path: Path, _modified: int) -> Hardware:
    from roofline.costmodel.profile.convert import read

    return read(path)


def _default_cpu() -> Hardware:
    device = load_hardware(DEFAULT_CPU)
    return replace(device, notes=(f"`cpu` means {DEFAULT_CPU} ({device.name})", *device.notes))


def _unknown(name: str) -> str:
    aliases = (alias for alias, _ in _aliases())
    close = get_close_matches(name.strip().lower(), (*names(), "cpu", "host", *aliases), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return f"unknown hardware '{name}'{hint} known: {', '.join(names())}; or pass a YAML file"
