"""What an answer must look like: a JSON schema or a pattern, read, checked and compiled.

Answers are constrained with llguidance, an optional package.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vipcli.asking.interface import Grammar
from vipcli.asking.short_schemas import parse_short_schema
from vipcli.errors import UsageError, first_line

ANY_OBJECT = Grammar("schema", '{"type": "object"}')
"""JSON objects with whatever is in them."""
_LAYOUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
"""One line, as models mostly write JSON. With other spaces allowed, a model may write nothing but spaces."""

_ABOUT_OTHER_FIELDS = (
    *("additionalProperties", "patternProperties", "unevaluatedProperties", "minProperties"),
    *("anyOf", "oneOf", "$ref"),
)
_PLACE = re.compile(r"at \d+\(\d+\): (?:failed to compile JSON schema: |invalid regex .* \(in regex\): )?")


def read_grammar(schema: Any = None, pattern: str | None = None) -> Grammar | None:
    """The grammar of a schema in any of its forms, or of a pattern; None without either."""
    if schema is not None and pattern is not None:
        raise UsageError("An answer follows a schema or a pattern, not both.", "Leave one of them out.")
    if schema is None and pattern is None:
        return None
    if schema is None:
        if not isinstance(pattern, str):
            raise UsageError(f"A pattern is text, not {type(pattern).__name__}.")
        if not pattern:
            raise UsageError("The pattern is empty.")
        grammar = Grammar("pattern", pattern)
    else:
        # The order of the fields is that of the answer, so it must stay.
        grammar = Grammar("schema", json.dumps(_read_schema(schema), ensure_ascii=False))
    compiled(grammar)
    return grammar


def compiled(grammar: Grammar) -> str:
    """The grammar as llguidance reads it; an error if it cannot."""
    require_library()
    from llguidance import LLMatcher

    # Models put a space before an answer where the prompt does not end in one.
    if grammar.kind == "schema":
        rule = f"%json {json.dumps(_with_layout(grammar.text), ensure_ascii=False)}"
    else:
        rule = f"/{_escape_slashes(grammar.text)}/"
    lark = f'start: " "? answer\nanswer: {rule}\n'
    is_wrong, messages = LLMatcher.validate_grammar_with_warnings(LLMatcher.grammar_from_lark(lark))
    if is_wrong:
        raise _grammar_error(grammar, messages[0] if messages else "")
    return lark


def require_library() -> None:
    """Raise an error that says how to install llguidance if it is missing."""
    if importlib.util.find_spec("llguidance") is None:
        raise UsageError(
            "Answers by a schema or a pattern need llguidance.", "Run pip install 'vipcli[structured]'."
        )


def columns(grammar: Grammar | None) -> tuple[str, ...]:
    """The names of the fields at the top of a schema."""
    if grammar is None or grammar.kind != "schema":
        return ()
    properties = json.loads(grammar.text).get("properties")
    return tuple(properties) if isinstance(properties, dict) else ()


def parse_fields(grammar: Grammar | None, text: str, *, is_whole: bool) -> Any:
    """The value of an answer by a schema; None if the answer was cut off or follows no schema."""
    if grammar is None or grammar.kind != "schema" or not is_whole:
        return None
    try:
        return json.loads(text)
    except ValueError:
        # A stop that a client asked for may end the text anywhere.
        return None


def _read_schema(schema: Any) -> dict[str, Any]:
    """A schema as a mapping, from a mapping, a pydantic model, a path, JSON or the short form."""
    if isinstance(schema, Mapping):
        value: Any = dict(schema)
    elif isinstance(schema, type) and hasattr(schema, "model_json_schema"):
        value = schema.model_json_schema()
    elif isinstance(schema, Path):
        value = _read_file(schema)
    elif not isinstance(schema, str):
        raise UsageError(
            f"A schema is text, a mapping, a path or a pydantic model, not {type(schema).__name__}."
        )
    elif schema.strip().startswith("{") and re.match(r'\{\s*["}]', schema.strip()):
        value = _parse_json(schema, "The schema")
    elif _names_file(schema):
        value = _read_file(Path(schema))
    else:
        value = parse_short_schema(schema)
    if not isinstance(value, dict):
        raise UsageError("The schema is no JSON object.", 'A schema looks like {"type": "object", …}.')
    return value


def _names_file(text: str) -> bool:
    if text.endswith(".json"):
        return True
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _read_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The schema {str(path)[:200]!r} cannot be read: {reason}.") from None
    return _parse_json(text, f"The schema {str(path)[:200]!r}")


def _parse_json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not valid JSON ({first_line(error)}).") from None


def _with_layout(text: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(text)
    # Each part of an allOf must allow the fields of the others.
    closed = schema if '"allOf"' in text else _closed(schema)
    return {**closed, "x-guidance": _LAYOUT}


def _closed(schema: Any) -> Any:
    """The schema without fields that it does not name, unless it says which others there may be.

    Such answers fit the schema as well, and a model would not know when to stop adding fields.
    """
    if not isinstance(schema, dict):
        return schema
    closed = dict(schema)
    fields = schema.get("properties")
    says_others = any(name in schema for name in _ABOUT_OTHER_FIELDS)
    if isinstance(fields, dict) and not says_others and set(schema.get("required", ())) <= set(fields):
        closed["additionalProperties"] = False
    for name in ("properties", "$defs", "definitions"):
        if isinstance(schema.get(name), dict):
            closed[name] = {key: _closed(part) for key, part in schema[name].items()}
    # Alternatives beside fields must allow these fields.
    for name in ("prefixItems",) if fields else ("prefixItems", "anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            closed[name] = [_closed(part) for part in schema[name]]
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    return closed


def _escape_slashes(pattern: str) -> str:
    """The pattern between slashes, where a slash or a line break of its own must be escaped."""
    escaped = re.sub(r"\\.|/", lambda match: "\\/" if match[0] == "/" else match[0], pattern, flags=re.S)
    return escaped.replace("\n", "\\n")


def _grammar_error(grammar: Grammar, message: str) -> UsageError:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reason = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "")
    # The library begins with the place in its own form of the grammar.
    reason = reason or _PLACE.sub("", lines[0] if lines else "it is too complex")
    name = "schema" if grammar.kind == "schema" else "pattern"
    return UsageError(f"The {name} cannot be used: {reason.rstrip('.')[:300]}.")
