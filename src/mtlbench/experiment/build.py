"""Builds objects from configuration nodes, checking each value against the signature of the target.

The keys are those of `hydra.utils.instantiate`. That function itself is not used: it builds every ``_target_`` anywhere
below a node, and resolves interpolations again after they were checked.
"""

import difflib
import inspect
import json
import math
import types
import typing
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.plain import reserved_keys
from mtlbench.experiment.targets import import_object

OUT_OF_RANGE = ("literal_error", "greater_than", "greater_than_equal", "less_than", "less_than_equal")
"""Kinds of pydantic errors whose message states what is allowed."""

INSTRUCTIONS: dict[str, Any] = {"_target_": str, "_partial_": bool, "_convert_": typing.Literal["all"]}
"""Keys of a node that are not arguments of the target, with their types; values are passed as plain lists and dicts."""

LARGEST_FLOAT = 3.4028234663852886e38
"""Largest finite float32, the type in which models compute."""

LARGEST_INT = 2**63 - 1
"""Largest 64-bit integer, the type of counts in torch and numpy."""


def build(node: DictConfig, where: str, **arguments: Any) -> Any:
    """Call the target of a configuration node.

    Args:
        node: has ``_target_`` (a dotted name); with ``_partial_: true`` the result is a `functools.partial`.
        where: key of the node, for messages.
        arguments: objects that a configuration cannot hold, such as a schema.

    Raises:
        ConfigError: the target does not exist, a key is not one of its arguments, a value has the wrong type, or the
            target raises a `ValueError`.
    """
    values = _resolved(node, where)
    _check(values, where, given=set(arguments))
    try:
        built = _built(values, where)
    except ValueError as error:  # raised by the target, with the reason
        raise ConfigError(f"{where}: {error}") from error
    return built(**arguments) if arguments else built


def check_node(node: DictConfig, where: str, given: set[str]) -> None:
    """Check a node, and the nodes inside it, against the signatures of their targets."""
    _check(_resolved(node, where), where, given)


def call_checked(target: Callable[..., Any], values: dict[str, Any], where: str) -> Any:
    """Call one of mtlbench's classes or functions with checked values."""
    checked = _checked(target, values, where, given=set(), partial=False)
    return target(**checked)


def _resolved(node: Any, where: str) -> dict[str, Any]:
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigError(f"{where} is {node!r}; expected a mapping with _target_, as in the files of the group")
    return typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def _built(values: dict[str, Any], where: str) -> Any:
    target = import_object(values["_target_"], where)
    arguments = {
        key: _built(value, f"{where}.{key}") if _is_node(value) else value
        for key, value in values.items()
        if key not in INSTRUCTIONS
    }
    return partial(target, **arguments) if values.get("_partial_") else target(**arguments)


def _check(values: dict[str, Any], where: str, given: set[str]) -> None:
    _check_instructions(values, where, given)
    target = import_object(values["_target_"], where)
    arguments = {key: value for key, value in values.items() if key not in INSTRUCTIONS}
    plain = {key: value for key, value in arguments.items() if not _is_node(value)}
    for key in arguments.keys() - plain.keys():
        _check(arguments[key], f"{where}.{key}", set())
    if reserved := next(reserved_keys(plain), None):
        raise ConfigError(
            f"{where}.{reserved}: an object must be the value of a key, not inside a list or mapping, and of Hydra's "
            f"keys only {', '.join(INSTRUCTIONS)} are supported"
        )
    nested = arguments.keys() - plain.keys()
    _checked(target, plain, where, given=given | nested, partial=bool(values.get("_partial_")))


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _is_instruction(key: Any) -> bool:
    return isinstance(key, str) and key.startswith("_") and key.endswith("_")


def _check_instructions(values: dict[str, Any], where: str, given: set[str]) -> None:
    if not isinstance(values.get("_target_"), str):
        raise ConfigError(f"{where}._target_ is {values.get('_target_')!r}; expected the name of a class or function")
    for key in filter(_is_instruction, values):
        if key not in INSTRUCTIONS:
            raise ConfigError(f"{where}.{key}: no such key; allowed: {', '.join(INSTRUCTIONS)}")
        coerce(values[key], INSTRUCTIONS[key], f"{where}.{key}")
    if given and not values.get("_partial_"):
        raise ConfigError(f"{where}._partial_ must be true: {', '.join(sorted(given))} is passed to the target later")


def _checked(
    target: Callable[..., Any], values: dict[str, Any], where: str, *, given: set[str], partial: bool
) -> dict[str, Any]:
    parameters = inspect.signature(target).parameters
    for key in values.keys() | given:
        if key not in parameters:
            close = difflib.get_close_matches(key, parameters, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "."
            raise ConfigError(
                f"{where}.{key}: {_name(target)} has no such argument{hint} It takes {', '.join(parameters)}."
            )
    if not partial and (
        missing := [
            n
            for n, p in parameters.items()
            if p.default is p.empty
            and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
            and n not in values
            and n not in given
        ]
    ):
        raise ConfigError(f"{where}: {_name(target)} needs {', '.join(missing)}")
    hints = _hints(target)
    return {key: coerce(value, hints.get(key), f"{where}.{key}") for key, value in values.items()}


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # a library's annotations may use names that it does not import
        return {}


def coerce(value: Any, hint: Any, where: str) -> Any:
    """Validate a value against a type hint; the only conversions are integers to floats and lists to tuples.

    Raises:
        ConfigError: the type is wrong, the type excludes the value, or a number is not finite or is too large.
    """
    _check_numbers(value, where)
    if hint is None or isinstance(hint, typing.TypeVar):
        return value
    try:
        adapter = _adapter(hint)
    except PydanticUserError:  # pydantic has no schema for the hint
        return value
    try:
        return (
            adapter.validate_json(json.dumps(value), strict=True)
            if _is_plain(value)
            else adapter.validate_python(value)
        )
    except ValidationError as error:
        out_of_range = [str(e["msg"]) for e in error.errors() if e["type"] in OUT_OF_RANGE]
        what = f": {out_of_range[0].lower()}" if out_of_range else f" is not of type {_hint_name(hint)}"
        raise ConfigError(f"{where}: {value!r}{what}") from error


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))


def _check_numbers(value: Any, where: str) -> None:
    """Reject numbers, also inside lists and mappings, that float32 or 64-bit integers cannot represent."""
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _check_numbers(item, where)
    elif isinstance(value, float) and not (math.isfinite(value) and abs(value) <= LARGEST_FLOAT):
        raise ConfigError(f"{where}: {value!r} is not allowed: numbers must be finite, and at most 3.4e38 (float32)")
    elif isinstance(value, int) and abs(value) > LARGEST_INT:
        raise ConfigError(f"{where}: {value!r} is not allowed: whole numbers must be below 2**63")


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__name__", str(target))


def _hint_name(hint: Any) -> str:
    """A readable name of a type, without tensors, which a configuration cannot contain."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _hint_name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(name for name in map(_hint_name, arguments) if name != "Tensor")
    if hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) and not arguments else str(hint).replace("typing.", "")
