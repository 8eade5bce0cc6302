"""Text, JSON, XML and YAML out of files: within limits, and without doing what a hostile one wants."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vipcli.annotations.values import shown
from vipcli.errors import AnnotationError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SAMPLED = 20
"""So many files, rows or entries are looked into, to see what something holds."""
MOST_NAMES = 2**20
"""No file of names has more bytes: so many are thousands of classes, and seconds of reading YAML."""
_LARGEST = 2**31
"""No file of annotations has more; its values would not fit into memory either."""
_LARGEST_FOR_ONE = 2**26
"""Nor does the file of a single image."""


def unread(file: Path, why: str) -> AnnotationError:
    """That a file cannot be read as what it should be."""
    return AnnotationError(f"The file {shown(file)} {why}")


def read_text(file: Path, most: int = _LARGEST_FOR_ONE) -> str:
    """The text of a file of no more bytes than that."""
    try:
        return _bytes(file, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unread(file, "is not text in UTF-8. Save it as that.") from error


def read_json(file: Path) -> Any:
    """The content of a JSON file; of JSON lines, a list with None for each that is damaged."""
    data = _bytes(file, _LARGEST)
    if not data or data.isspace():
        raise unread(file, "is empty. Export the annotations again.")
    if file.suffix.lower() == ".jsonl":
        return list(_json_lines(data.splitlines()))
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise unread(file, f"is not whole JSON (line {error.lineno}). Export it again.") from error
    except UnicodeDecodeError as error:
        raise unread(file, "is not text in UTF-8. Save it as that.") from error
    # Deep nesting, and numbers of thousands of digits.
    except (ValueError, RecursionError, MemoryError) as error:
        raise unread(file, "is JSON that cannot be read. Export it again.") from error


def first_json_line(file: Path) -> Any:
    """The first of a file of JSON lines, which may be far larger than memory; None if it is damaged."""
    with file.open("rb") as lines:
        return next(_json_lines(iter(lambda: lines.readline(_LARGEST_FOR_ONE), b"")), None)


def _json_lines(lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None


def read_xml(file: Path) -> Element:
    """The outermost element of an XML file."""
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root: Element = fromstring(_bytes(file, _LARGEST_FOR_ONE))
    # Entities are refused with a ValueError, unknown encodings with a LookupError.
    except (ParseError, ValueError, LookupError) as error:
        raise unread(file, "is not whole and harmless XML. Export it again.") from error
    return root


def read_yaml(file: Path) -> dict[str, Any]:
    """The settings in a YAML file, all of their values texts, lists or dictionaries."""
    import yaml

    try:
        # All values stay text: nothing is computed, merged or made from what the file says.
        content = yaml.load(read_text(file, MOST_NAMES), Loader=yaml.BaseLoader)
    # A letter with too large a number overflows.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise unread(file, "is not YAML that can be read. Check it.") from error
    return content if isinstance(content, dict) else {}


def _bytes(file: Path, most: int) -> bytes:
    try:
        if file.is_dir():
            raise unread(file, "is a folder. Name a file of annotations in it.")
        if not file.is_file():
            raise AnnotationError(f"There is no file {shown(file)}. Check the path.")
        if file.stat().st_size > most:
            raise unread(file, f"is larger than {most >> 20} MiB. Split it into several files.")
        return file.read_bytes()
    except OSError as error:
        raise unread(file, f"cannot be read: {error.strerror or error}.") from error
