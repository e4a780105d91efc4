"""Explain what is wrong with a file of dials, one line per fault: file, key, value, and the nearest right one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], path: Path) -> Model:
    return validated(model, yaml.safe_load(path.read_text()), f"{path.name}: ")


def validated(model: type[Model], values: Any, where: str) -> Model:
    """Validate `values`. Raises ValueError with one line per fault, each beginning with `where`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError("\n".join(f"{where}{explain(model, fault)}" for fault in error.errors())) from None


def explain(model: type[BaseModel], fault: dict[str, Any]) -> str:
    """Explain a pydantic fault in one line."""
    key, value, context = ".".join(map(str, fault["loc"])), fault["input"], fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            known = fields_at(model, fault["loc"][:-1])
            return f"{key}: unknown key (value {value!r}); nearest is {nearest(fault['loc'][-1], known)!r}"
        case "missing":
            return f"{key}: missing; it has no default"
        case "literal_error":
            return f"{key}: {value!r} is not one of {context['expected']}"
        case "greater_than_equal" | "less_than_equal":
            return f"{key}: {value!r} is out of range; nearest right one is {context.get('ge', context.get('le'))}"
        case "greater_than":
            return f"{key}: {value!r} is out of range; it must be greater than {context['gt']}"
        case "value_error":
            return f"{key}.{context['error']}" if key else str(context["error"])
        case "float_type" if isinstance(value, str):
            return f"{key}: {value!r} is text, not a number; YAML wants a dot, as in 1.0e-4"
        case _:
            return f"{key}: {value!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def fields_at(model: Any, loc: tuple) -> list[str]:
    """Return the field names of the model that `loc` leads to."""
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[part].annotation
        else:
            model = next((a for a in get_args(model) if isinstance(a, type) and issubclass(a, BaseModel)), model)
    if get_args(model):
        model = next((a for a in get_args(model) if isinstance(a, type) and issubclass(a, BaseModel)), model)
    return list(getattr(model, "model_fields", {}))


def nearest(word: Any, known: list[str] | tuple[str, ...]) -> str:
    return max(known, key=lambda name: difflib.SequenceMatcher(None, str(word), name).ratio(), default="")
