// Marks and their points. A point is [x, y]: the column and row of a pixel of the picture. Nothing here changes.

export const KINDS = ["box", "ellipse", "triangle", "point", "arrow", "scribble", "contour", "mask"];

export const isRectangle = (kind) => kind === "box" || kind === "ellipse" || kind === "triangle";
export const isFreehand = (kind) => kind === "scribble" || kind === "contour" || kind === "mask";
export const fewest = (kind) => (kind === "scribble" ? 2 : 3);

export const same = (points, others) => String(points) === String(others);

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** The pixel at a position, or the nearest one if that is outside the picture. */
export const pixelAt = ([x, y], { width, height }) => [
  clamp(Math.floor(x), 0, width - 1),
  clamp(Math.floor(y), 0, height - 1),
];

export function boundsOf(points) {
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

export function isComplete(kind, points) {
  if (isRectangle(kind)) {
    return points.length === 2 && points[0][0] !== points[1][0] && points[0][1] !== points[1][1];
  }
  return points.length >= (isFreehand(kind) ? fewest(kind) : 1);
}

/** The second corner of a square with this first corner that stays inside the picture. */
export function squareCorner([x1, y1], [x2, y2], { width, height }) {
  const right = x2 >= x1;
  const down = y2 >= y1;
  const room = Math.min(right ? width - 1 - x1 : x1, down ? height - 1 - y1 : y1);
  const side = Math.min(Math.max(Math.abs(x2 - x1), Math.abs(y2 - y1)), room);
  return [x1 + (right ? side : -side), y1 + (down ? side : -side)];
}

/** Leave out points that lie within a tolerance of the line between others (Ramer, Douglas and Peucker). */
export function simplify(points, tolerance) {
  const kept = new Set([0, points.length - 1]);
  const spans = [[0, points.length - 1]];
  while (spans.length) {
    const [first, last] = spans.pop();
    let farthest = first;
    let most = tolerance;
    for (let i = first + 1; i < last; i++) {
      const distance = distanceToSegment(points[i], points[first], points[last]);
      if (distance > most) [farthest, most] = [i, distance];
    }
    if (farthest !== first) {
      kept.add(farthest);
      spans.push([first, farthest], [farthest, last]);
    }
  }
  return points.filter((_, i) => kept.has(i));
}

function distanceToSegment([x, y], [x1, y1], [x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const length = dx * dx + dy * dy;
  const along = length ? clamp(((x - x1) * dx + (y - y1) * dy) / length, 0, 1) : 0;
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
}

/** A freehand path as whole pixels, without what cannot be seen at this zoom. */
export function tidyPath(kind, path, zoom, size) {
  const pixels = simplify(path, 1 / zoom).map((point) => pixelAt(point, size));
  const different = pixels.filter((pixel, i) => !i || !same(pixel, pixels[i - 1]));
  const closes = kind !== "scribble" && different.length > 1 && same(different[0], different.at(-1));
  return closes ? different.slice(0, -1) : different;
}

export function normalized(kind, points) {
  if (!isRectangle(kind)) return points;
  const [x1, y1, x2, y2] = boundsOf(points);
  return [[x1, y1], [x2, y2]];
}

export function moved(points, dx, dy, { width, height }) {
  const [x1, y1, x2, y2] = boundsOf(points);
  const stepX = clamp(dx, -x1, width - 1 - x2);
  const stepY = clamp(dy, -y1, height - 1 - y2);
  return points.map(([x, y]) => [x + stepX, y + stepY]);
}

export function handlesOf(kind, points) {
  if (kind === "point") return [["move", ...points[0]]];
  if (kind === "arrow") return points.map((point, i) => [String(i), ...point]);
  const [x1, y1, x2, y2] = boundsOf(points);
  const corners = [["nw", x1, y1], ["ne", x2, y1], ["se", x2, y2], ["sw", x1, y2]];
  if (!isRectangle(kind)) return corners;
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  return [...corners, ["n", x, y1], ["e", x2, y], ["s", x, y2], ["w", x1, y]];
}

/** Points after one handle was taken to a pixel. */
export function resized(kind, points, handle, to, size, square = false) {
  if (kind === "point") return [to];
  if (kind === "arrow") {
    const changed = points.map((point, i) => (String(i) === handle ? to : point));
    return changed.length === 2 && same(...changed) ? points : changed;
  }
  const [x1, y1, x2, y2] = boundsOf(points);
  const fixed = [handle.includes("w") ? x2 : x1, handle.includes("n") ? y2 : y1];
  const from = [handle.includes("w") ? x1 : x2, handle.includes("n") ? y1 : y2];
  const target = square && handle.length === 2 ? squareCorner(fixed, to, size) : to;
  const end = [/[we]/.test(handle) ? target[0] : from[0], /[ns]/.test(handle) ? target[1] : from[1]];
  for (const axis of [0, 1]) {
    // A side of no length could not be made longer again.
    if (end[axis] === fixed[axis] && from[axis] !== fixed[axis]) {
      const step = Math.sign(from[axis] - fixed[axis]);
      end[axis] += step;
    }
  }
  if (isRectangle(kind)) return normalized(kind, [fixed, end]);
  return points.map((point) => point.map((value, axis) => {
    const length = from[axis] - fixed[axis];
    return length ? Math.round(fixed[axis] + ((value - fixed[axis]) * (end[axis] - fixed[axis])) / length) : value;
  }));
}

export const coordinates = (kind, points) =>
  points.map(([x, y]) => `${x},${y}`).join(isFreehand(kind) ? " " : ",");

/** A thin outline of a mark, as the data of an SVG path; `place` takes a point to the screen. */
export function outline(kind, points, size, place) {
  const scale = Math.max(size.width, size.height) / 336;
  const line = (path, close) => `M${path.map((point) => place(point).join(" ")).join("L")}${close ? "Z" : ""}`;
  const oval = (x, y, rx, ry) => {
    const [x1, cy] = place([x - rx, y]);
    const [x2] = place([x + rx, y]);
    const radii = `${(x2 - x1) / 2} ${place([x, y + ry])[1] - cy}`;
    return `M${x1} ${cy}A${radii} 0 1 1 ${x2} ${cy}A${radii} 0 1 1 ${x1} ${cy}Z`;
  };
  if (kind === "point") return oval(...points[0], Math.max(8 * scale, 1), Math.max(8 * scale, 1));
  if (kind === "arrow") return arrow(points, scale, size).map((part) => line(part)).join("");
  if (!isRectangle(kind)) return line(points, kind !== "scribble");
  const [x1, y1, x2, y2] = boundsOf(points);
  if (kind === "box") return line([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], true);
  if (kind === "ellipse") return oval((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2);
  return line([[(x1 + x2) / 2, y1], [x2, y2], [x1, y2]], true);
}

function arrow(points, scale, { width, height }) {
  const tip = points.at(-1);
  const tail = points.length > 1 ? points[0] : [
    tip[0] + (tip[0] <= width / 2 ? 1 : -1) * 18 * scale,
    tip[1] + (tip[1] <= height / 2 ? 1 : -1) * 18 * scale,
  ];
  const angle = Math.atan2(tail[1] - tip[1], tail[0] - tip[0]);
  const head = clamp(0.54 * Math.hypot(tail[0] - tip[0], tail[1] - tip[1]), 6 * scale, 18 * scale);
  const wing = (turn) => [tip[0] + head * Math.cos(angle + turn), tip[1] + head * Math.sin(angle + turn)];
  return [[tail, tip], [wing(Math.PI / 3), tip, wing(-Math.PI / 3)]];
}

export const capitalized = (text) => text[0].toUpperCase() + text.slice(1);
export const withArticle = (noun) => `${/^[aeiou]/.test(noun) ? "an" : "a"} ${noun}`;

/** Marks in the order that numbers them: those that were asked for, then the others. */
export function inOrder(marks) {
  const rank = (mark) => mark.slot ?? Number.MAX_SAFE_INTEGER;
  return [...marks].sort((one, other) => rank(one) - rank(other));
}

/** The marks as they are sent; `names` gives marks without a color the one that they have anyway. */
export const asMessage = (marks, names = new Map()) =>
  marks.map((mark) => ({
    slot: mark.slot,
    kind: mark.kind,
    text: mark.text ? null : textOf({ ...mark, color: mark.color ?? names.get(mark.id) }),
  }));

const textOf = ({ kind, points, color, frame }) =>
  `${frame ? `${frame}:` : ""}${coordinates(kind, points)}${color ? `:${color}` : ""}`;

/** The name of each mark's color: its own, or the first trained one that no other mark has. */
export function colorNames(ordered, trained) {
  const own = (mark) => mark.colorName ?? mark.color;
  const taken = ordered.filter(own).map((mark) => [mark.kind, own(mark)]);
  return new Map(ordered.map((mark) => {
    if (own(mark)) return [mark.id, own(mark)];
    const uses = (name) => taken.filter(([kind, other]) => kind === mark.kind && other === name).length;
    const free = trained.find((name) => !taken.some(([, other]) => other === name))
      ?? trained.reduce((best, name) => (uses(name) < uses(best) ? name : best));
    taken.push([mark.kind, free]);
    return [mark.id, free];
  }));
}

/** Where a mark is, in words; what was typed stays as it is. */
export function placeOf({ kind, points, text }) {
  if (text) return text;
  const [x1, y1, x2, y2] = boundsOf(points);
  if (points.length === 1) return `at ${points[0]}`;
  return kind === "arrow" ? `from ${points[0]} to ${points[1]}` : `from ${x1},${y1} to ${x2},${y2}`;
}

export const typedMarks = (slots) =>
  slots.flatMap(({ kind, text, color, colorName, picture }, slot) =>
    (text === null ? [] : [{ id: `slot ${slot}`, slot, kind, text, color, colorName, frame: picture }]));

export const slotColor = (slot, colors) =>
  slot.color && (colors.find(({ rgb }) => rgb === slot.color)?.name ?? slot.color);

export class History {
  #past = [];
  #future = [];
  #last = null;

  constructor(marks) {
    this.marks = marks;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /** Go on to other marks; steps with the same name that follow within a second are undone together. */
  change(marks, name = null) {
    const now = performance.now();
    const goesOn = name && this.#last?.name === name && now - this.#last.time < 1000;
    if (!goesOn) this.#past.push(this.marks);
    this.#last = { name, time: now };
    this.#future = [];
    this.marks = marks;
  }

  undo() {
    this.#future.push(this.marks);
    this.marks = this.#past.pop();
    this.#last = null;
  }

  redo() {
    this.#past.push(this.marks);
    this.marks = this.#future.pop();
    this.#last = null;
  }
}
