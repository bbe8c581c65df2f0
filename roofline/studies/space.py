"""Read a space of networks from YAML: each field of an architecture a value, a list of choices, or a range with a step."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, field_validator

from roofline.costmodel.profile.nodes import Key, Node, Problem, UnreadableError, key_text, locate, parse, plain, short
from roofline.errors import RooflineError
from roofline.tracing.architecture import ACTIVATIONS, BLOCKS, Architecture, Stage

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Value = int | float | str

MOST_CHOICES = 1000
"""Values that one field may choose from."""

MOST_STAGES = 32

_RANGE = ("from", "to", "step")


@dataclass(frozen=True, slots=True)
class Choices:
    """The values that a field may take, in order; *step* is their distance where they were written as a range."""

    values: tuple[Value, ...]
    step: int | float | None = None

    def suggest(self, trial: "BaseTrial", name: str) -> Any:
        """Let *trial* choose, unless there is but one value."""
        if len(self.values) == 1:
            return self.values[0]
        if self.step is None:
            return trial.suggest_categorical(name, self.values)
        numbers = cast(tuple[float, ...], self.values)
        low, high = numbers[0], numbers[-1]
        if isinstance(self.step, int):
            return trial.suggest_int(name, int(low), int(high), step=self.step)
        found = trial.suggest_float(name, low, high, step=self.step)
        return min(numbers, key=lambda value: abs(value - found))


def _read(value: Any, one: Callable[[Any], Value], *, words: bool = False) -> Choices:
    """Read a value, a list of values or a range as Choices; *one* checks a single value."""
    if isinstance(value, dict) and not words:
        return _range(cast(dict[str, Any], value), one)
    if not isinstance(value, list):
        return Choices((one(value),))
    listed = [one(item) for item in cast(list[Any], value)]
    if not listed:
        raise ValueError("has no choice; list at least one value")
    if len(listed) > MOST_CHOICES:
        raise ValueError(f"has {len(listed)} choices; a field has at most {MOST_CHOICES}")
    if len(set(listed)) < len(listed):
        raise ValueError(f"lists {short(next(v for v in listed if listed.count(v) > 1))} twice; write each choice once")
    return Choices(tuple(listed))


def _range(value: Mapping[str, Any], one: Callable[[Any], Value]) -> Choices:
    if not {"from", "to"} <= value.keys() <= set(_RANGE):
        raise ValueError("must be a value, a list of choices, or a range {from: LOW, to: HIGH, step: STEP}")
    low, high = cast(float, one(value["from"])), cast(float, one(value["to"]))
    step = value.get("step", 1)
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step < math.inf:
        raise ValueError(f"has a step of {short(step)}; a step is a number above 0")
    if low > high:
        raise ValueError(f"runs from {low:g} to {high:g}; write the smaller end first")
    whole = isinstance(low, int) and isinstance(high, int)
    if whole and not isinstance(step, int):
        raise ValueError(f"has a step of {step:g} between whole numbers; use a whole step")
    count = round((high - low) / step)
    if abs(low + count * step - high) > 1e-9 * max(abs(high), 1):
        raise ValueError(f"never meets {high:g} in steps of {step:g} from {low:g}; choose an end that it meets")
    if count >= MOST_CHOICES:
        raise ValueError(f"has {count + 1} choices; a field has at most {MOST_CHOICES}")
    values = tuple(low + i * step if whole else float(f"{low + i * step:.9g}") for i in range(count + 1))
    return Choices(values, step if whole else float(step))


def _whole(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"must be whole numbers from {low} to {high}, not {short(value)}")
    return value


def _one_of(value: Any, known: tuple[Value, ...]) -> Value:
    if isinstance(value, bool) or value not in known:
        raise ValueError(f"must be one of {', '.join(map(str, known))}, not {short(value)}")
    return cast(Value, value)


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"must be numbers from {low:g} to {high:g}, not {short(value)}")
    return float(value)


def _squeeze(value: Any) -> float:
    return 0.0 if type(value) in (int, float) and not value else _number(value, 1 / 64, 1)


def _choices(one: Callable[[Any], Value], *, words: bool = False) -> Any:
    return PlainValidator(partial(_read, one=one, words=words))


def _from(low: int, high: int) -> Any:
    return _choices(partial(_whole, low=low, high=high))


Activation = Annotated[Choices, _choices(partial(_one_of, known=ACTIVATIONS), words=True)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class StageSpace(_Entry):
    """Choices of one stage; blocks of a stage are alike."""

    depth: Annotated[Choices, _from(1, 64)]
    width: Annotated[Choices, _from(8, 8192)]
    kernel: Annotated[Choices, _choices(partial(_one_of, known=(3, 5, 7)))] = Choices((3,))
    stride: Annotated[Choices, _choices(partial(_one_of, known=(1, 2)))] = Choices((1,))
    expansion: Annotated[Choices, _choices(partial(_number, low=1, high=16))] = Choices((6.0,))
    squeeze: Annotated[Choices, _choices(_squeeze)] = Choices((0.25,))
    activation: Activation = Choices(("silu",))
    block: Annotated[Choices, _choices(partial(_one_of, known=BLOCKS), words=True)] = Choices(("mbconv",))


class ArchitectureSpace(_Entry):
    """Choices of a whole network: both ends and every stage."""

    stages: tuple[StageSpace, ...]
    stem: Annotated[Choices, _from(8, 1024)] = Choices((32,))
    head: Annotated[Choices, _from(8, 16384)] = Choices((1280,))
    classes: Annotated[Choices, _from(1, 1_000_000)] = Choices((1000,))
    resolution: Annotated[Choices, _from(32, 2048)] = Choices((224,))
    activation: Activation = Choices(("silu",))

    @field_validator("stages", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"must be a list of stages, not {short(value)}")  # noqa: TRY004  # pydantic takes no TypeError
        listed = cast(list[Any], value)
        if not 1 <= len(listed) <= MOST_STAGES:
            raise ValueError(f"has {len(listed)} stages; a network has 1 to {MOST_STAGES}")
        return tuple(listed)

    def fields(self) -> Iterator[tuple[str, Choices]]:
        """Yield every field with its choices: the ends by name, those of stages as `stages.0.depth`."""
        yield from ((name, getattr(self, name)) for name in type(self).model_fields if name != "stages")
        for i, stage in enumerate(self.stages):
            yield from ((f"stages.{i}.{name}", getattr(stage, name)) for name in type(stage).model_fields)

    @property
    def size(self) -> int:
        """Count the networks in the space."""
        return math.prod(len(choices.values) for _, choices in self.fields())

    def propose(self, trial: "BaseTrial") -> Architecture:
        """Let *trial* choose every field that has more than one value."""
        chosen = {name: choices.suggest(trial, name) for name, choices in self.fields()}
        stages = tuple(
            Stage(**{name: chosen[f"stages.{i}.{name}"] for name in type(stage).model_fields}) for i, stage in enumerate(self.stages)
        )
        return Architecture(stages, **{name: value for name, value in chosen.items() if "." not in name})

    def description(self) -> str:
        """Write all choices as one text, the same for the same space however it was written."""
        return json.dumps({name: choices.values for name, choices in self.fields()}, sort_keys=True)


def load_space(path: str | Path) -> ArchitectureSpace:
    """Read the space in the YAML file at *path*; raise RooflineError, naming file, line and field, for one that breaks a rule."""
    try:
        root = parse(Path(path), "search space", "`stages`, `stem`, `head`")
    except UnreadableError as error:
        raise RooflineError(f"{error.problem}") from None
    return _validated(root, plain(root))


def space_of(fields: Mapping[str, Any]) -> ArchitectureSpace:
    """Make a space of what a YAML file would hold."""
    return _validated(Node(None, "search space", 0), dict(fields))


def _validated(root: Node, fields: Any) -> ArchitectureSpace:
    try:
        return ArchitectureSpace.model_validate(fields)
    except ValidationError as error:
        details = cast(list[dict[str, Any]], error.errors(include_url=False, include_context=False))
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise RooflineError(f"{_problem(root, details[0])}{more}") from None


def _problem(root: Node, detail: dict[str, Any]) -> Problem:
    key = cast(Key, tuple(detail["loc"]))
    file, line = locate(root, key)
    return Problem(file, line, key_text(key), _message(detail, key))


def _message(detail: dict[str, Any], key: Key) -> str:
    kind = detail["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        known = StageSpace if len(key) > 1 else ArchitectureSpace
        return f"unknown key; use {', '.join(known.model_fields)}"
    if kind in ("model_type", "dict_type"):
        return f"must be a mapping, not {short(detail.get('input'))}"
    return str(detail["msg"]).removeprefix("Value error, ")
