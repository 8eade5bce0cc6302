"""ViP-Bench: questions about plain pictures with regions, or about pictures that are already marked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vipcli.annotations.annotated import AnnotatedImage, missing_image
from vipcli.annotations.folders import ImageFinder, parent_of
from vipcli.annotations.labelme import collect_regions
from vipcli.annotations.labelme import recognizes as has_shapes
from vipcli.annotations.parsing import SAMPLE_SIZE, read_json, unreadable
from vipcli.annotations.values import DamageError, one_line, quoted
from vipcli.errors import AnnotationError
from vipcli.marks.regions import Region

_META = "vip-bench-meta-data.json"
# Prefer the plain pictures; those in the folders `bbox` and `human` are already marked.
_FILES = (_META, "questions.jsonl")


def recognizes(content: object) -> bool:
    """Check whether JSON content has ViP-Bench questions."""
    match content:
        case [{"question_id": _, "image": _, "text": _}, *_]:
            return True
        case dict():
            entries = islice(content.values(), SAMPLE_SIZE)
            return any(isinstance(entry, dict) and {"image", "question"} <= entry.keys() for entry in entries)
        case _:
            return False


def recognizes_folder(folder: Path) -> bool:
    """Check whether a folder is the benchmark or one of its parts."""
    return any((folder / name).is_file() for name in _FILES)


def read(source: Path, images: Path | None, content: Any = None) -> Iterator[AnnotatedImage]:
    """Read the questions of a file, whose parsed content may be passed, or of the benchmark's folder."""
    file = next((source / name for name in _FILES if (source / name).is_file()), source)
    match read_json(file) if content is None else content:
        case dict() as entries:
            return _read_plain(file, entries, ImageFinder(images or file.parent / "source_image"))
        case list() as lines if any(isinstance(line, dict) for line in lines):
            return _read_marked(file, lines, ImageFinder(images or file.parent / "images"))
        case _:
            raise unreadable(file, "has no ViP-Bench questions.")


def _read_plain(file: Path, content: Mapping[str, Any], images: ImageFinder) -> Iterator[AnnotatedImage]:
    """Read plain pictures, each with a labelme file that locates `<obj>`, `<obj1>` … of the questions."""
    for key, entry in content.items():
        id = one_line(key)
        if not isinstance(entry, dict):
            yield missing_image("", id, file, f"the entry {quoted(id)} is not an object")
            continue
        name, details = entry.get("image_source") or entry.get("image"), _details(entry)
        try:
            question, path = _clean_question(entry.get("question")), images.by_name(name)
            yield AnnotatedImage(str(path), _find_regions(path, question), id, question, details)
        except (DamageError, AnnotationError) as error:
            yield missing_image(name, id, file, error, details)


def _read_marked(file: Path, lines: Sequence[Any], images: ImageFinder) -> Iterator[AnnotatedImage]:
    """Read pictures that are already marked, with questions that refer to their marks."""
    meta = _meta_near(file)
    for position, line in enumerate(lines, 1):
        if not isinstance(line, dict):
            fault = f"Line {position} of {quoted(file)} is not a question."
            yield AnnotatedImage("", (), f"line {position}", fault=fault)
            continue
        number, name = one_line(line.get("question_id")), line.get("image")
        # The benchmark's scoring script calls question 0 v1_0.
        id = number if number.startswith("v1_") else f"v1_{number or position}"
        details = _details(meta.get(id), category=one_line(line.get("category")))
        try:
            question, path = _clean_question(line.get("text")), images.by_name(name)
        except DamageError as error:
            yield missing_image(name, id, file, error, details)
        else:
            yield AnnotatedImage(str(path), (), id, question, details)


def _meta_near(file: Path) -> Mapping[str, Any]:
    """The benchmark's question metadata, for a file in its folder or a subfolder."""
    for folder in (file.parent, parent_of(file.parent)):
        try:
            content = read_json(folder / _META)
        except AnnotationError:
            continue
        return content if isinstance(content, dict) else {}
    return {}


def _details(entry: object, **details: Any) -> dict[str, Any]:
    """The details of a question that are not empty."""
    if isinstance(entry, dict):
        answer, capability = entry.get("answer"), entry.get("capability")
        details["answer"] = answer if isinstance(answer, str) else ""
        details["capability"] = (
            [one_line(name) for name in capability] if isinstance(capability, list) else []
        )
    return {name: value for name, value in details.items() if value}


def _clean_question(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise DamageError("the question is missing")
    return text.strip()


def _find_regions(image: Path, question: str) -> tuple[Region, ...]:
    """The regions that a question refers to, in its order."""
    names = list(dict.fromkeys(re.findall(r"<(obj\d{0,4})>", question)))
    if not names:
        return ()
    file = image.with_suffix(".json")
    content = read_json(file)
    if not has_shapes(content):
        raise DamageError(f"{quoted(file)} has no shapes")
    by_label: dict[str, Region] = {}
    for region in collect_regions(file, content).regions:
        by_label.setdefault(region.label, region)
    if unknown := [name for name in names if name not in by_label]:
        raise DamageError(f"{quoted(file)} has no region <{unknown[0]}>")
    return tuple(by_label[name] for name in names)
