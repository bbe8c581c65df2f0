"""Measure a network in a process of its own, as the script of a user runs it.

In a process that has done other things before, the allocator behaves otherwise: it keeps memory that it would ask the
system for anew on every run of the network, which at batch 8 can be half of its time.
"""

import os
import subprocess
import sys
from pathlib import Path

import roofline
from roofline.errors import ModelError
from roofline.measurement.measurement import Measurement

PATIENCE = (180.0, 20.0)
"""Seconds after which a process is given up, beside this many for each second of its budget."""


def measure_apart(
    model: str, device: str, *, batch: int, mode: str, threads: int | None, seconds: float, image_size: int | None = None,
    precision: str = "fp32", layout: str = "nchw", cache: bool = True,
) -> Measurement:  # fmt: skip
    """Run `roofline measure` and read its times; raise ModelError with its message, or with what ended it."""
    options = {
        "--device": device, "-b": batch, "--mode": mode, "--threads": threads, "--seconds": f"{seconds:.3f}",
        "--image-size": image_size, "--precision": precision, "--layout": layout,
    }  # fmt: skip
    given = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    words = [sys.executable, "-m", "roofline", "measure", model, "--json", *given, *([] if cache else ["--no-cache"])]
    try:
        done = subprocess.run(  # noqa: S603 - this very program
            words, capture_output=True, text=True, env=_environment(), timeout=PATIENCE[0] + PATIENCE[1] * seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"cannot measure {model} in a process of its own: {type(error).__name__}") from error
    if done.returncode == 0:
        return Measurement.from_json(done.stdout)
    raise ModelError(_why(model, done.returncode, done.stderr))


def _environment() -> dict[str, str]:
    """Let the process find the same package, however this one found it."""
    here = str(Path(roofline.__file__).resolve().parents[1])
    paths = [here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in dict.fromkeys(paths) if path)}


def _why(model: str, code: int, errors: str) -> str:
    said = [line.removeprefix("error: ") for line in errors.splitlines() if line.startswith("error: ")]
    if said:
        return said[-1]
    ended = f"signal {-code}, perhaps for lack of memory" if code < 0 else f"exit code {code}"
    return f"cannot measure {model}: its process ended with {ended}"
