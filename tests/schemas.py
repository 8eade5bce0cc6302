"""Random JSON schemas of every kind that an answer may follow."""

from __future__ import annotations

import random
from typing import Any

_NAMES = ("color", "count", "open", "name", "place", "the size", "größe", 'a "b"', "x/y", "0")
_WORDS = ("red", "green", "dark red", "", "日本", "a\nb", 'say "no"', "back\\slash", "###")
_PATTERNS = ("[A-Z]{2}[0-9]{1,3}", "(yes|no)( maybe)?", "[^x]{2,4}", r"\d\d/\d\d", "é+")

Schema = dict[str, Any]


def random_schema(rng: random.Random) -> Schema:
    """An object, mostly, with up to three levels below it; two of its parts may be definitions."""
    definitions = {"a": _value(rng, 1, ()), "b": _value(rng, 1, ())}
    schema = _object(rng, 3, ("a", "b")) if rng.random() < 0.8 else _value(rng, 3, ("a", "b"))
    return {**schema, "$defs": definitions}


def _value(rng: random.Random, depth: int, definitions: tuple[str, ...]) -> Schema:
    if depth > 0 and rng.random() < 0.5:
        kinds = [_object, _array, _one_of]
        return rng.choice(kinds)(rng, depth - 1, definitions)
    if definitions and rng.random() < 0.2:
        return {"$ref": f"#/$defs/{rng.choice(definitions)}"}
    return rng.choice([_string, _integer, _number, _words, _simple])(rng)


def _object(rng: random.Random, depth: int, definitions: tuple[str, ...]) -> Schema:
    names = rng.sample(_NAMES, rng.randint(1, 4))
    schema: Schema = {
        "type": "object",
        "properties": {name: _value(rng, depth, definitions) for name in names},
        "required": rng.sample(names, rng.randint(0, len(names))),
    }
    return schema if rng.random() < 0.05 else {**schema, "additionalProperties": False}


def _array(rng: random.Random, depth: int, definitions: tuple[str, ...]) -> Schema:
    least = rng.randint(0, 2)
    size = {"minItems": least, "maxItems": least + rng.randint(0, 2)}
    return {"type": "array", "items": _value(rng, depth, definitions), **size}


def _one_of(rng: random.Random, depth: int, definitions: tuple[str, ...]) -> Schema:
    return {"anyOf": [_value(rng, depth, definitions) for _ in range(rng.randint(2, 3))]}


def _string(rng: random.Random) -> Schema:
    if rng.random() < 0.3:
        return {"type": "string", "pattern": f"^{rng.choice(_PATTERNS)}$", "maxLength": 12}
    least = rng.randint(0, 3)
    return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 8)}


def _integer(rng: random.Random) -> Schema:
    least = rng.randint(-120, 120)
    most = least + rng.choice([0, 3, 50, 1000])
    return {"type": "integer", "minimum": least, "maximum": most}


def _number(rng: random.Random) -> Schema:
    least = round(rng.uniform(-50, 50))
    bounds = {"minimum": least, "maximum": least + rng.choice([1, 20])}
    # Without a step, a model may write decimals without end.
    step = {} if rng.random() < 0.2 else {"multipleOf": 0.25}
    return {"type": "number", **bounds, **step}


def _words(rng: random.Random) -> Schema:
    words = rng.sample([*_WORDS, 3, -1.5, True, None], rng.randint(1, 4))
    return {"enum": words} if len(words) > 1 else {"const": words[0]}


def _simple(rng: random.Random) -> Schema:
    return {"type": rng.choice(["boolean", "null", ["boolean", "null"]])}
