"""Turn the text of a YAML file into nodes that know their file and line, with what they inherit from a base profile.

No aliases, no tags, no duplicate keys, no recursion deeper than MAX_DEPTH; inheritance goes one level, by the bare name of
a file in the same folder.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import yaml

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Point at the line and key that break a rule."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """Write `file:line: key: message`, leaving out what is unknown."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Node:
    """Hold a YAML value with the file and line where it stands."""

    value: "bool | int | float | str | list[Node] | dict[str, Node] | None"
    file: str
    line: int


class UnreadableError(Exception):
    """Carry the problem that keeps a file from becoming nodes."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def key_text(key: Key) -> str:
    """Write a key the way a person would: `engines[1].per_clock_per_unit`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_one_line(part)}" for part in key).removeprefix(".")


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)


def locate(root: Node, key: Key) -> tuple[str, int]:
    """Find the file and line of *key* below *root*, or of the nearest part of it that exists."""
    node = root
    for part in key:
        if (child := _child(node.value, part)) is None:
            break
        node = child
    return node.file, node.line


def _child(value: object, part: str | int) -> Node | None:
    if isinstance(value, dict):
        return cast(dict[str | int, Node], value).get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(cast(list[Node], value)):
        return cast(list[Node], value)[part]
    return None


def short(value: object) -> str:
    """Write *value* in 40 characters at most."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


_Loader = cast(type[yaml.SafeLoader], getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "true": True, "True": True, "false": False, "False": False}


def parse(path: Path, noun: str = "profile", keys: str = "`schema`, `name`, `engines`") -> Node:
    """Read the file at *path*, a *noun*, as one mapping of *keys* and others, or raise UnreadableError."""
    file = str(path)
    text = _text(path, noun)
    try:
        root = _root(iter(_Loader(text).get_event, None), file, noun)
    except yaml.YAMLError as error:
        raise UnreadableError(_syntax_problem(file, text, error)) from None
    if not isinstance(root.value, dict):
        raise UnreadableError(Problem(file, root.line, "", f"must be a mapping of keys such as {keys}"))
    return root


@lru_cache(maxsize=8)
def _parse_cached(path: Path, _modified: int) -> Node:
    return parse(path)


def _text(path: Path, noun: str) -> str:
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "no such file"
            raise UnreadableError(Problem(str(path), 0, "", f"{what}; give a YAML {noun}"))
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UnreadableError(Problem(str(path), 0, "", f"has {size} bytes; a {noun} has at most {MAX_BYTES}"))
        return _decoded(path, path.read_bytes())
    except OSError as error:
        raise UnreadableError(Problem(str(path), 0, "", f"cannot be read: {error.strerror}")) from None


def _decoded(path: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableError(Problem(str(path), line, "", "is not UTF-8 text; save it as UTF-8")) from None


def _syntax_problem(file: str, text: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    line = cast(int, mark.line) + 1 if mark else 1
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
    start = re.match(r"\s*", text.split("\n")[line - 1]) if line <= text.count("\n") + 1 else None
    hint = "; indent with spaces, not with a tab" if start and "\t" in start[0] else ""
    return Problem(file, line, "", f"not valid YAML: {what}{hint}")


def _root(events: Iterator[Any], file: str, noun: str) -> Node:
    next(events)  # the start of the stream
    if isinstance(next(events), yaml.StreamEndEvent):
        raise UnreadableError(Problem(file, 1, "", f"is empty; a {noun} is a mapping of keys"))
    root = _node(events, next(events), file, ())
    next(events)  # the end of the document
    if not isinstance(extra := next(events), yaml.StreamEndEvent):
        raise UnreadableError(Problem(file, _line(extra), "", "has a second document; keep one in a file"))
    return root


def _line(event: Any) -> int:
    return cast(int, event.start_mark.line) + 1


def _node(events: Iterator[Any], event: Any, file: str, key: Key) -> Node:
    _refuse(event, file, key)
    if isinstance(event, yaml.ScalarEvent):
        return Node(_scalar(event), file, _line(event))
    if isinstance(event, yaml.SequenceStartEvent):
        return Node(_items(events, file, key), file, _line(event))
    return Node(_pairs(events, file, key), file, _line(event))


def _refuse(event: Any, file: str, key: Key) -> None:
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise UnreadableError(Problem(file, _line(event), key_text(key), "anchors and aliases are refused; repeat the value"))
    if event.tag is not None:
        raise UnreadableError(Problem(file, _line(event), key_text(key), f"the tag {event.tag} is refused; write plain values"))
    if len(key) > MAX_DEPTH:
        raise UnreadableError(Problem(file, _line(event), "", f"is nested deeper than {MAX_DEPTH} levels"))


def _items(events: Iterator[Any], file: str, key: Key) -> list[Node]:
    items: list[Node] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        items.append(_node(events, event, file, (*key, len(items))))
    return items


def _pairs(events: Iterator[Any], file: str, key: Key) -> dict[str, Node]:
    pairs: dict[str, Node] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        _refuse(event, file, key)
        if not isinstance(event, yaml.ScalarEvent):
            raise UnreadableError(Problem(file, _line(event), key_text(key), "has a key that is not plain text"))
        name = event.value
        if name in pairs:
            message = f"is given twice; the first is on line {pairs[name].line}"
            raise UnreadableError(Problem(file, _line(event), key_text((*key, name)), message))
        pairs[name] = _node(events, next(events), file, (*key, name))
    return pairs


def _scalar(event: Any) -> str | float | int | bool | None:
    text = cast(str, event.value)
    if not event.implicit[0]:  # quoted
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text.replace(".i", "i").replace(".n", "n").replace(".N", "N")) if _FLOAT.fullmatch(text) else text


def plain(node: Node) -> Any:
    """Drop the places and keep the values."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


_OWN_KEYS = {"name", "aliases", "price", "base"}
_BARE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*")
_IDENTITY = {"engines": ("kind", "dtype"), "memory": ("level",)}


def with_base(own: Node, path: Path) -> Node:
    """Merge what *own*, the file at *path*, inherits from the profile that it names as its base."""
    pairs = cast(dict[str, Node], own.value)
    if "base" not in pairs:
        return own
    base_path = _base_path(pairs["base"], path)
    base = _parse_cached(base_path, base_path.stat().st_mtime_ns)
    if "base" in (inherited := cast(dict[str, Node], base.value)):
        message = f"{pairs['base'].value} has a base itself; inherit from that one"
        raise UnreadableError(Problem(own.file, pairs["base"].line, "base", message))
    kept = {key: node for key, node in inherited.items() if key not in _OWN_KEYS}
    both = {key: _merged(key, kept[key], pairs[key]) for key in kept.keys() & pairs.keys()}
    return Node({**kept, **pairs, **both}, own.file, own.line)


def _base_path(node: Node, path: Path) -> Path:
    name = node.value
    if not isinstance(name, str) or not _BARE_NAME.fullmatch(name):
        message = f"must be the bare name of a profile in the same folder, not {short(name)}"
        raise UnreadableError(Problem(node.file, node.line, "base", message))
    if not (base := path.parent / f"{name}.yaml").is_file():
        raise UnreadableError(Problem(node.file, node.line, "base", f"there is no {base}; name a profile beside this one"))
    return base


def _merged(key: str, base: Node, own: Node) -> Node:
    if key in ("sources", "clock_ghz", "overhead_us") and isinstance(base.value, dict) and isinstance(own.value, dict):
        return Node({**base.value, **own.value}, own.file, own.line)
    if key in (*_IDENTITY, "notes") and isinstance(base.value, list) and isinstance(own.value, list):
        return Node(_joined(base.value, own.value, _IDENTITY.get(key, ())), own.file, own.line)
    return own


def _joined(base: list[Node], own: list[Node], identity: tuple[str, ...]) -> list[Node]:
    if not identity:
        return [*base, *own]
    known = {_identity(node, identity): node for node in base}
    for node in own:
        label = _identity(node, identity)
        if label in known and isinstance(node.value, dict):
            pairs = {**cast(dict[str, Node], known[label].value), **node.value}
            node = Node(pairs, node.file, node.line)
        known[label] = node
    return list(known.values())


def _identity(node: Node, keys: tuple[str, ...]) -> str:
    if not isinstance(node.value, dict):
        return f"{node.file}:{node.line}"
    return " ".join(repr(node.value[key].value) if key in node.value else "" for key in keys)
