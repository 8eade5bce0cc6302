"""ViP-Bench: questions on plain pictures with regions, or on pictures that are marked already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vipcli.annotations.annotated import Annotated, missing
from vipcli.annotations.folders import Images, above
from vipcli.annotations.labelme import fits as has_shapes
from vipcli.annotations.labelme import gather
from vipcli.annotations.parsing import SAMPLED, read_json, unread
from vipcli.annotations.values import DamageError, shown, word
from vipcli.errors import AnnotationError
from vipcli.marks.regions import Region

_META = "vip-bench-meta-data.json"
# The plain pictures come first: those of the parts `bbox` and `human` have their marks.
_FILES = (_META, "questions.jsonl")


def fits(content: object) -> bool:
    """Whether JSON has questions as ViP-Bench has them."""
    match content:
        case [{"question_id": _, "image": _, "text": _}, *_]:
            return True
        case dict():
            entries = islice(content.values(), SAMPLED)
            return any(isinstance(entry, dict) and {"image", "question"} <= entry.keys() for entry in entries)
        case _:
            return False


def fits_folder(folder: Path) -> bool:
    """Whether a folder is the benchmark, or one of its parts."""
    return any((folder / name).is_file() for name in _FILES)


def read(source: Path, images: Path | None, content: Any = None) -> Iterator[Annotated]:
    """The questions of a file, whose content may be known, or of the benchmark's folder."""
    file = next((source / name for name in _FILES if (source / name).is_file()), source)
    match read_json(file) if content is None else content:
        case dict() as entries:
            return _plain(file, entries, Images(images or file.parent / "source_image"))
        case list() as lines if any(isinstance(line, dict) for line in lines):
            return _marked(file, lines, Images(images or file.parent / "images"))
        case _:
            raise unread(file, "has no questions as ViP-Bench has them.")


def _plain(file: Path, content: Mapping[str, Any], images: Images) -> Iterator[Annotated]:
    """Plain pictures, each with a labelme file of what `<obj>`, `<obj1>` … in the questions are."""
    for key, entry in content.items():
        id = word(key)
        if not isinstance(entry, dict):
            yield missing("", id, file, f"the entry {shown(id)} is no object")
            continue
        name, facts = entry.get("image_source") or entry.get("image"), _facts(entry)
        try:
            question, path = _question(entry.get("question")), images.named(name)
            yield Annotated(str(path), _objects(path, question), id, question, facts)
        except (DamageError, AnnotationError) as why:
            yield missing(name, id, file, why, facts)


def _marked(file: Path, lines: Sequence[Any], images: Images) -> Iterator[Annotated]:
    """Pictures that are marked already, with questions that speak of their marks."""
    meta = _meta_near(file)
    for place, line in enumerate(lines, 1):
        if not isinstance(line, dict):
            fault = f"Line {place} of {shown(file)} is no question."
            yield Annotated("", (), f"line {place}", fault=fault)
            continue
        own, name = word(line.get("question_id")), line.get("image")
        # The benchmark's judge knows question 0 as v1_0.
        id = own if own.startswith("v1_") else f"v1_{own or place}"
        facts = _facts(meta.get(id), category=word(line.get("category")))
        try:
            question, path = _question(line.get("text")), images.named(name)
        except DamageError as why:
            yield missing(name, id, file, why, facts)
        else:
            yield Annotated(str(path), (), id, question, facts)


def _meta_near(file: Path) -> Mapping[str, Any]:
    """What the benchmark's folder says of its questions, in that folder or in one of its parts."""
    for folder in (file.parent, above(file.parent)):
        try:
            content = read_json(folder / _META)
        except AnnotationError:
            continue
        return content if isinstance(content, dict) else {}
    return {}


def _facts(entry: object, **facts: Any) -> dict[str, Any]:
    """What is known of a question besides, as far as it is anything."""
    if isinstance(entry, dict):
        answer, capability = entry.get("answer"), entry.get("capability")
        facts["answer"] = answer if isinstance(answer, str) else ""
        facts["capability"] = [word(one) for one in capability] if isinstance(capability, list) else []
    return {name: fact for name, fact in facts.items() if fact}


def _question(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise DamageError("a question is missing")
    return text.strip()


def _objects(image: Path, question: str) -> tuple[Region, ...]:
    """The regions that a question speaks of, in its order."""
    names = list(dict.fromkeys(re.findall(r"<(obj\d{0,4})>", question)))
    if not names:
        return ()
    file = image.with_suffix(".json")
    content = read_json(file)
    if not has_shapes(content):
        raise DamageError(f"{shown(file)} has no shapes")
    by_label: dict[str, Region] = {}
    for region in gather(file, content).regions:
        by_label.setdefault(region.label, region)
    if lost := [name for name in names if name not in by_label]:
        raise DamageError(f"{shown(file)} does not say where <{lost[0]}> is")
    return tuple(by_label[name] for name in names)
