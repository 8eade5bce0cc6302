"""The short form of a schema: `color: str, count: int, open: bool`.

A field is a name, a colon and a type; a question mark after the name says that the field may be left out.
Types are str, int, float and bool, lists `[str]`, objects `{x: int, y: int}`, and words to choose from, as in
`red|green|"dark red"`. Numbers, true, false and null among these words stand for themselves.
"""

from __future__ import annotations

import json
import re
from typing import Any

from vipcli.errors import UsageError

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*"|\'[^\']*\')|([-+.\w]+)|([][{}:,|?]))')
_DEEPEST = 50
_EXAMPLE = "Write it as in color: str, count: int, open: bool."

Schema = dict[str, Any]


def parse_short_schema(text: str) -> Schema:
    """The JSON schema of an object with these fields."""
    parser = _Parser(text)
    schema = parser.object("end")
    if not schema["properties"]:
        raise UsageError("The schema has no fields.", _EXAMPLE)
    return schema


class _Parser:
    """Reads tokens from left to right; each has a kind: `quoted`, `word` or the sign itself."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*_tokens(text), ("end", "", len(text))]
        self._next = 0
        self._depth = 0

    def object(self, end: str) -> Schema:
        """An object, up to a closing sign."""
        properties: dict[str, Schema] = {}
        required = []
        while not self._take(end):
            if properties:
                self._expect(",", f"a comma before the next field{'' if end == 'end' else f', or {end}'}")
            name = self._name()
            if name in properties:
                raise UsageError(f"The schema has two fields {name!r}.", "Give them different names.")
            if not self._take("?"):
                required.append(name)
            self._expect(":", f"a colon and a type after {name!r}")
            properties[name] = self._type()
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def _name(self) -> str:
        kind, text, _ = self._tokens[self._next]
        if kind not in ("word", "quoted"):
            raise self._error("the name of a field")
        self._next += 1
        return text

    def _type(self) -> Schema:
        """A type, or several with | between them."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UsageError(f"The schema is nested more than {_DEEPEST} levels deep.")
        schemas: list[Schema] = []
        values: list[Any] = []
        bare_words = []
        while True:
            kind, text, _ = self._tokens[self._next]
            if kind in ("word", "quoted") and not (kind == "word" and text in _TYPES):
                values.append(text if kind == "quoted" else _value(text))
                bare_words.append(text if kind == "word" else None)
                self._next += 1
            else:
                schemas.append(self._simple_type())
            if not self._take("|"):
                break
        if not schemas and len(values) == 1 and isinstance(values[0], str) and bare_words[0]:
            raise UsageError(
                f"The schema has no type {values[0]!r}.",
                f"The types are {', '.join(_TYPES)}; words to choose from are written red|green.",
            )
        if len({json.dumps(value) for value in values}) < len(values):
            raise UsageError("The schema has the same word twice among those to choose from.")
        if values:
            schemas.append({"enum": values})
        self._depth -= 1
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _simple_type(self) -> Schema:
        kind, text, _ = self._tokens[self._next]
        if kind == "word":
            self._next += 1
            return {"type": _TYPES[text]}
        if self._take("["):
            items = self._type()
            self._expect("]", "] after the type of the list's entries")
            return {"type": "array", "items": items}
        if self._take("{"):
            return self.object("}")
        raise self._error("a type")

    def _take(self, kind: str) -> bool:
        """Go past the next token if it is of this kind."""
        is_kind = self._tokens[self._next][0] == kind
        if is_kind and kind != "end":
            self._next += 1
        return is_kind

    def _expect(self, kind: str, expected: str) -> None:
        if not self._take(kind):
            raise self._error(expected)

    def _error(self, expected: str) -> UsageError:
        start = self._tokens[self._next][2]
        found = self._text[start : start + 20].strip()
        where = f"where it has {found!r}" if found else "at its end"
        return UsageError(f"The schema needs {expected} {where}.", _EXAMPLE)


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Each token's kind, text and place."""
    tokens = []
    end = len(text.rstrip())
    place = 0
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            unread = text[place:].strip()
            raise UsageError(f"The schema cannot be read from {unread[:20]!r} on.", _EXAMPLE)
        quoted, word, sign = match.groups()
        start = match.start(match.lastindex or 0)
        if quoted:
            tokens.append(("quoted", quoted[1:-1].replace('\\"', '"').replace("\\\\", "\\"), start))
        elif word:
            tokens.append(("word", word, start))
        else:
            tokens.append((sign, sign, start))
        place = match.end()
    return tokens


def _value(word: str) -> Any:
    """What a word stands for: a number, true, false, null, or itself."""
    try:
        value = json.loads(word)
    except ValueError:
        return word
    # JSON proper has no NaN and no infinity.
    return word if word.lstrip("-") in ("NaN", "Infinity") else value
