"""Flat YAML, read strictly: any fault is one sentence naming the file, the key and the keys that are allowed
there.

Imports no torch: the Snakefile reads configuration with it while parsing.
"""

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from evaluation.files import plain_text

T = TypeVar("T")
JsonSchema = dict[str, Any]
PlainLine = Annotated[str, AfterValidator(plain_text)]
"""A title, licence, citation or note: one plain line of 1 to 200 characters."""


class Section(BaseModel):
    """A part of a file of settings: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class StrictLoader(yaml.SafeLoader):
    """SafeLoader for files that mean what they say.

    Refused are keys that appear twice, whatever YAML 1.1 turns into another value than it looks like (010,
    1:30, 1_000, yes), numbers that are not finite, tags, and aliases that repeat values without end. Dates
    are text, and 5e-6 is a number.
    """

    def get_single_node(self) -> yaml.Node | None:
        """The file as nodes. Raises ComposerError if there is more of it than any file of ours holds."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _values_of(node, {}) > MOST_VALUES:
            raise yaml.composer.ComposerError(
                None, None, f"its aliases stand for more than {MOST_VALUES:,} values", node.start_mark
            )
        return node


MOST_VALUES = 100_000
"""Values of a file with every alias written out; the largest shipped file has some hundreds."""
MOST_DIGITS = 30
"""Digits of an integer."""

StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)

_PLAIN = {
    "bool": re.compile("true|false", re.IGNORECASE),
    "int": re.compile("[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(r"[-+]?[0-9]*\.?[0-9]*([eE][-+]?[0-9]+)?"),
}
"""What a value of each kind looks like to everybody; YAML 1.1 has more."""


def _values_of(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node stands for, aliases written out; infinite for one that holds itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")
        inside = node.value if not isinstance(node, yaml.ScalarNode) else ()
        parts = [part for item in inside for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_values_of(part, known) for part in parts)
    return known[id(node)]


def _construct_plain(loader: StrictLoader, node: yaml.ScalarNode) -> Any:
    kind = node.tag.rpartition(":")[2]
    text, wrong = node.value, ""
    if kind == "int" and len(text) > MOST_DIGITS:
        wrong = f"{text[:MOST_DIGITS]}... has {len(text)} digits, of which {MOST_DIGITS} are the most"
    elif not _PLAIN[kind].fullmatch(text):
        value = getattr(yaml.SafeLoader, f"construct_yaml_{kind}")(loader, node)
        meant = json.dumps(value)
        wrong = (
            f"{text} is {meant} to YAML; write {meant}, or '{text}' in quotes for text"
            if value == value and abs(value) != float("inf")
            else f"{text} is no finite number"
        )
    else:
        value = text.lower() == "true" if kind == "bool" else (int if kind == "int" else float)(text)
        if abs(value) != float("inf"):
            return value
        wrong = f"{text} is beyond every number that can be computed with"
    raise yaml.constructor.ConstructorError(None, None, wrong, node.start_mark)


def _construct_mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is not text", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} appears twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


StrictLoader.yaml_constructors = {
    f"tag:yaml.org,2002:{kind}": made
    for kind, made in {
        "null": yaml.SafeLoader.construct_yaml_null,
        "str": yaml.SafeLoader.construct_yaml_str,
        "seq": yaml.SafeLoader.construct_yaml_seq,
        "map": _construct_mapping,
        **dict.fromkeys(_PLAIN, _construct_plain),
    }.items()
} | {None: yaml.SafeLoader.construct_undefined}


def load_yaml(text: str) -> Any:
    """The plain values of a YAML text. Raises ValueError with a clause: what is wrong, in which line."""
    try:
        return yaml.load(text, Loader=StrictLoader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(_yaml_fault(error, text)) from error
    except RecursionError as error:
        raise ValueError("its values are nested too deeply to be read") from error


RENAMED_KEYS = {
    "world": "benchmark",
    "own_dimensions": "custom_dimensions",
    "numerics": "precision' or, in the file of a baseline, 'dtypes",
    "islands": "fp32_modules",
    "renoise": "renoise_generator",
    "renoise_dtype": "add_noise_dtype",
    "scoring.path": "backend",
    "slices": "micro_batches",
    "recompute": "activation_checkpointing",
    "advantage_spread": "advantage_std",
}
"""Keys of earlier versions, some with the section that they stood in, by the key that took their place."""

REMOVED_KEYS = {
    "sources": "baselines/methods.md says where every number comes from",
    "clip_s": "sample_s took its place, which is of a second of video",
    "score_clip_s": "score_s took its place, which is of a second of video",
    "clip_mb": "video_mb took its place, which is of a second of video",
}
"""Keys of earlier versions without a successor, and why they are gone."""


def read_strict(path: Path | str, kind: type[T], *, where: str | None = None) -> T:
    """The object a YAML file describes; kind: a pydantic model or a standard dataclass.

    where: what to call the file in errors, None for its path. No type is coerced (an integer may stand for
    a float). Raises FileNotFoundError, or ValueError with one sentence: file, key, what is wrong, and which
    keys are allowed there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; check the path or restore the file.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where or path}: byte {error.start} is not UTF-8; save the file as UTF-8."
        ) from error
    return parse_strict(text, kind, where=where or str(path))


def parse_strict(text: str, kind: type[T], *, where: str) -> T:
    """As `read_strict`, from text; where: what to call its origin in errors."""
    try:
        data = load_yaml(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; correct the file.") from error
    return validate_strict(data, kind, where=where)


@cache
def _reader(kind: Any) -> tuple[TypeAdapter[Any], JsonSchema]:
    adapter = TypeAdapter(kind)
    return adapter, adapter.json_schema()


def validate_strict(data: Any, kind: type[T], *, where: str) -> T:
    """As `read_strict`, from plain data that YAML or JSON gave."""
    if endless := _not_finite(data, ()):
        raise ValueError(
            f"{where}: {_named(endless, 'key')} is {_at(data, endless)}, no finite number; correct it."
        )
    model: Any = kind
    adapter, schema = _reader(model)
    unknown = _unknown_keys(data, schema, schema, ())
    if unknown:
        key, advice = str(unknown[0][-1]), ""
        renamed = RENAMED_KEYS.get(_dotted(unknown[0])) or RENAMED_KEYS.get(key)
        if renamed is not None:
            now = f"is called '{renamed}' now; rename it"
        elif key in REMOVED_KEYS:
            now = f"was removed ({REMOVED_KEYS[key]}); delete it"
        else:
            now, advice = "is unknown", "; correct or remove it"
        allowed = _allowed(data, schema, unknown[0][:-1])
        raise ValueError(
            f"{where}: {_named(unknown[0], 'key')} {now}; {allowed}{advice}{_more(len(unknown))}."
        )
    try:
        found: T = adapter.validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise ValueError(f"{where}: {_describe(faults[0], data, schema)}{_more(len(faults))}.") from error
    return found


def _yaml_fault(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        tab = "'\\t'" in str(error.problem)
        problem = "a tab stands where YAML takes blanks alone" if tab else error.problem
        return f"{problem} (line {error.problem_mark.line + 1})"
    if isinstance(error, yaml.reader.ReaderError) and isinstance(error.position, int):
        line = text.count("\n", 0, error.position) + 1
        return f"it holds the control character {error.character:#04x} (line {line})"
    return "is not YAML"


def _not_finite(data: Any, at: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Where the first number that is infinite or none at all stands; empty if there is none."""
    if isinstance(data, float) and not math.isfinite(data):
        return at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return next((found for key, item in items if (found := _not_finite(item, (*at, key)))), ())


def _describe(fault: Any, data: Any, schema: JsonSchema) -> str:
    """One fault of pydantic as a clause. Tags of unions are dropped from the location, because the file
    has no such key.
    """
    location = _in_file(fault["loc"], data, missing=fault["type"] == "missing")
    if fault["type"] == "missing":
        return f"{_named(location, 'key')} is missing; {_allowed(data, schema, location[:-1])}; add it"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = fault["ctx"]["discriminator"].strip("'")
        found = (_at(data, location) or {}).get(tag, "missing")
        expected = fault["ctx"].get("expected_tags", "one of the known values")
        return f"{_named((*location, tag), 'key')} is {found!r} but must be one of {expected}; correct it"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        noun = "section" if isinstance(_at(data, location), dict) else "key"
        return f"{_named(location, noun)} is wrong: {message.rstrip('.')}"
    return f"{_named(location, 'key')} is {_at(data, location)!r} but {_lower(message)}; correct it"


def _unknown_keys(
    data: Any, schema: JsonSchema, root: JsonSchema, at: tuple[str | int, ...]
) -> list[tuple[str | int, ...]]:
    schema = _resolve(schema, root, data)
    if isinstance(data, list) and "items" in schema:
        return [
            found
            for i, item in enumerate(data)
            for found in _unknown_keys(item, schema["items"], root, (*at, i))
        ]
    if not isinstance(data, dict):
        return []
    properties = schema.get("properties")
    if properties is None:
        values = schema.get("additionalProperties")
        if not isinstance(values, dict):
            return []
        return [
            found for key, item in data.items() for found in _unknown_keys(item, values, root, (*at, key))
        ]
    unknown: list[tuple[str | int, ...]] = [(*at, key) for key in data if key not in properties]
    for key, item in data.items():
        if key in properties:
            unknown += _unknown_keys(item, properties[key], root, (*at, key))
    return unknown


def _resolve(schema: JsonSchema, root: JsonSchema, data: Any) -> JsonSchema:
    """Follow references, and in unions the branch that the data chose (by its tag, or the first that
    describes its kind).
    """
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "discriminator" in schema and isinstance(data, dict):
        discriminator = schema["discriminator"]
        reference = discriminator["mapping"].get(data.get(discriminator["propertyName"]))
        return _resolve({"$ref": reference}, root, data) if reference else {}
    branches = [_resolve(one, root, data) for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]
    if isinstance(data, dict):  # of several sections the one that the data is nearest to
        sections = [one for one in branches if one.get("type") == "object"]
        return max(sections, key=lambda one: _nearness(data, one), default=schema)
    for one in branches:
        if isinstance(data, list) and one.get("type") != "object":
            return one
    return schema


def _nearness(data: dict[str, Any], section: JsonSchema) -> tuple[int, int]:
    """More keys that the section knows, then fewer that it misses."""
    known = data.keys() & section.get("properties", {}).keys()
    return len(known), -len(set(section.get("required", ())) - known)


def _allowed(data: Any, schema: JsonSchema, location: tuple[str | int, ...]) -> str:
    here, root = _resolve(schema, schema, data), schema
    for part in location:
        data = _at(data, (part,))
        branch = (
            here.get("items")
            if isinstance(part, int)
            else here.get("properties", {}).get(part, here.get("additionalProperties"))
        )
        here = _resolve(branch if isinstance(branch, dict) else {}, root, data)
    where = f"allowed in '{_dotted(location)}'" if location else "allowed at the top"
    return f"{where} are {', '.join(here.get('properties', {})) or 'no keys'}"


def _in_file(location: tuple[str | int, ...], data: Any, *, missing: bool) -> tuple[str | int, ...]:
    kept: list[str | int] = []
    for number, part in enumerate(location):
        present = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int)
        )
        if present or (missing and number == len(location) - 1):
            kept.append(part)
            data = _at(data, (part,))
    return tuple(kept)


def _at(data: Any, location: tuple[str | int, ...]) -> Any:
    for part in location:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def _named(location: tuple[str | int, ...], noun: str) -> str:
    return f"{noun} '{_dotted(location)}'" if location else "the file"


def _dotted(location: tuple[str | int, ...]) -> str:
    return ".".join(map(str, location))


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _more(faults: int) -> str:
    return f" (and {faults - 1} more like it)" if faults > 1 else ""
