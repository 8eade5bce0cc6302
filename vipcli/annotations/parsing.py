"""Read text, JSON, XML and YAML files safely, with limits on their size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vipcli.annotations.values import quoted
from vipcli.errors import AnnotationError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SAMPLE_SIZE = 20
"""How many files, rows or entries are examined to detect a format."""
MAX_NAMES_BYTES = 2**20
"""The limit for files of class names: enough for thousands of classes, and parsed as YAML in seconds."""
_MAX_BYTES = 2**31
"""The limit for annotation files; the values of a larger one would not fit in memory."""
_MAX_BYTES_PER_IMAGE = 2**26
"""The limit for the annotation file of a single image."""


def unreadable(file: Path, problem: str, advice: str | None = None) -> AnnotationError:
    """The error for a file that cannot be read in the expected format."""
    return AnnotationError(f"The file {quoted(file)} {problem}", advice)


def read_text(file: Path, max_bytes: int = _MAX_BYTES_PER_IMAGE) -> str:
    """The text of a UTF-8 file of at most `max_bytes`."""
    try:
        return _read_bytes(file, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unreadable(file, "is not UTF-8 text.", "Save it as UTF-8.") from error


def read_json(file: Path) -> Any:
    """The content of a JSON file; for JSON Lines, a list with None for each damaged line."""
    data = _read_bytes(file, _MAX_BYTES)
    if not data or data.isspace():
        raise unreadable(file, "is empty.", "Export the annotations again.")
    if file.suffix.lower() == ".jsonl":
        return list(_json_lines(data.splitlines()))
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise unreadable(file, f"is not valid JSON (line {error.lineno}).", "Export it again.") from error
    except UnicodeDecodeError as error:
        raise unreadable(file, "is not UTF-8 text.", "Save it as UTF-8.") from error
    # Deep nesting, or numbers with thousands of digits.
    except (ValueError, RecursionError, MemoryError) as error:
        raise unreadable(file, "contains JSON that cannot be read.", "Export it again.") from error


def first_json_line(file: Path) -> Any:
    """The first line of a JSON Lines file, without reading the rest; None if it is damaged."""
    with file.open("rb") as lines:
        return next(_json_lines(iter(lambda: lines.readline(_MAX_BYTES_PER_IMAGE), b"")), None)


def _json_lines(lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None


def read_xml(file: Path) -> Element:
    """The root element of an XML file."""
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root: Element = fromstring(_read_bytes(file, _MAX_BYTES_PER_IMAGE))
    # defusedxml raises ValueError for entities; unknown encodings raise LookupError.
    except (ParseError, ValueError, LookupError) as error:
        raise unreadable(
            file, "is not valid XML, or uses entities, which are refused.", "Export it again."
        ) from error
    return root


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, its values strings, lists or dictionaries; empty if it holds none."""
    import yaml

    try:
        # BaseLoader keeps scalars as strings and constructs no objects.
        content = yaml.load(read_text(file, MAX_NAMES_BYTES), Loader=yaml.BaseLoader)
    # An escape beyond the last Unicode code point raises OverflowError.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise unreadable(file, "is not valid YAML.", "Check its syntax.") from error
    return content if isinstance(content, dict) else {}


def _read_bytes(file: Path, max_bytes: int) -> bytes:
    try:
        if file.is_dir():
            raise unreadable(file, "is a folder.", "Give an annotation file in it.")
        if not file.is_file():
            raise AnnotationError(f"There is no file {quoted(file)}.", "Check the path.")
        if file.stat().st_size > max_bytes:
            raise unreadable(file, f"is larger than {max_bytes >> 20} MiB.", "Split it into several files.")
        return file.read_bytes()
    except OSError as error:
        raise unreadable(file, f"cannot be read: {error.strerror or error}.") from error
