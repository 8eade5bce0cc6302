"""Draw the packages and their imports: `python -m tests.architecture` writes vipcli/docs/architecture.svg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from tests.imports import FLOORS, ROOT, graph, modules

PICTURE = ROOT / "docs" / "architecture.svg"

# Drawn side by side, from the top: what a person runs, what long work is made of, the stages, the ground.
ROWS = (
    ("__main__", "cli"),
    ("api", "notebook"),
    ("batch", "serving", "picking"),
    ("chat",),
    ("engine", "asking", "annotations"),
    ("checkpoints", "pictures", "marks"),
    ("terminal", "config", "files", "memory", "geometry", "errors"),
)
_WIDTH, _GAP, _MARGIN = 1160, 24, 20
_LINE, _HEAD, _PADDING = 15, 24, 10
_CHARACTER = 6.6
_BETWEEN_ROWS = 46


def packages() -> dict[str, list[str]]:
    """The modules of each package that the picture shows; none for a single module."""
    inside: dict[str, list[str]] = {name: [] for name in FLOORS}
    for module in modules():
        parts = module.split(".")
        if len(parts) > 2 and parts[1] in inside:
            inside[parts[1]].append(".".join(parts[2:]))
    return inside


def arrows() -> dict[str, set[str]]:
    """Which packages each package imports, without what follows from the others."""
    between: dict[str, set[str]] = {name: set() for name in FLOORS}
    for module, targets in graph().items():
        source = module.split(".")[1] if "." in module else ""
        if source in between:
            between[source] |= {target.split(".")[1] for target in targets} & between.keys() - {source}
    return {
        source: {
            target
            for target in targets
            if not any(target in _reachable(other, between) for other in targets - {target})
        }
        for source, targets in between.items()
    }


def _reachable(start: str, between: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in between[waiting.pop()] - seen:
            seen.add(target)
            waiting.append(target)
    return seen


def picture() -> str:
    """The whole SVG."""
    inside = packages()
    boxes: dict[str, tuple[float, float, float, float]] = {}
    parts: list[str] = []
    y: float = _MARGIN
    for row in ROWS:
        # Wide packages take more of the row than single modules do.
        weights = [2 + len(inside[name]) ** 0.7 for name in row]
        room = _WIDTH - 2 * _MARGIN - _GAP * (len(row) - 1)
        widths = [min(room * weight / sum(weights), 560) for weight in weights]
        x = (_WIDTH - sum(widths) - _GAP * (len(row) - 1)) / 2
        lines = [list(_wrapped(inside[name], width)) for name, width in zip(row, widths, strict=True)]
        height: float = _HEAD + _LINE * max(map(len, lines)) + _PADDING
        for name, width, texts in zip(row, widths, lines, strict=True):
            boxes[name] = x, y, width, height
            parts.extend(_box(name, texts, boxes[name]))
            x += width + _GAP
        y += height + _BETWEEN_ROWS
    lines_between = [
        _arrow(boxes[source], boxes[target])
        for source, targets in arrows().items()
        for target in sorted(targets, key=FLOORS.index)
    ]
    height = y - _BETWEEN_ROWS + _MARGIN
    return "\n".join([_opening(height), *lines_between, *parts, "</svg>", ""])


def _wrapped(names: list[str], width: float) -> Iterator[str]:
    """The names in lines that fit into a box."""
    line = ""
    for name in names:
        longer = f"{line}  {name}" if line else name
        if line and len(longer) * _CHARACTER > width - 2 * _PADDING:
            yield line
            longer = name
        line = longer
    if line:
        yield line


def _opening(height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" '
        f'width="{_WIDTH}" height="{height:g}" font-family="ui-monospace, Menlo, monospace">\n'
        "<title>The packages of vipcli. Arrows are imports; implied ones are left out.</title>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#6b7280"/></marker></defs>\n'
        f'<rect width="{_WIDTH}" height="{height:g}" fill="#ffffff"/>'
    )


def _box(name: str, lines: list[str], place: tuple[float, float, float, float]) -> Iterator[str]:
    x, y, width, height = place
    fill = "#eef2ff" if lines else "#f3f4f6"
    yield (
        f'<rect x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{height:g}" rx="6" '
        f'fill="{fill}" stroke="#94a3b8"/>'
    )
    yield (
        f'<text x="{x + _PADDING:.1f}" y="{y + 17:g}" font-size="13" font-weight="bold" '
        f'fill="#111827">{escape(name)}</text>'
    )
    for number, line in enumerate(lines):
        yield (
            f'<text x="{x + _PADDING:.1f}" y="{y + _HEAD + _LINE * number + 10:g}" font-size="11" '
            f'fill="#374151" xml:space="preserve">{escape(line)}</text>'
        )


def _arrow(source: tuple[float, float, float, float], target: tuple[float, float, float, float]) -> str:
    """A line from one box to another: downward, or sideways within a row."""
    if source[1] == target[1]:
        y = source[1] + source[3] / 2
        if source[0] < target[0]:
            return _line(source[0] + source[2], y, target[0], y)
        return _line(source[0], y, target[0] + target[2], y)
    x1, x2 = source[0] + source[2] / 2, target[0] + target[2] / 2
    # Lines leave and arrive a little towards each other, so that they do not all meet in one point.
    lean = (x2 - x1) / 4
    x1 += max(-source[2] / 3, min(source[2] / 3, lean))
    x2 -= max(-target[2] / 3, min(target[2] / 3, lean))
    return _line(x1, source[1] + source[3], x2, target[1])


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:g}" x2="{x2:.1f}" y2="{y2:g}" stroke="#6b7280" stroke-width="1.2" '
        'marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
