// The marks as values that never change, their numbers, colors and text, and the steps to undo.

import { boundsOf, coordinates, isFreehand, typedPoints } from "./geometry.js";

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
    text: mark.locked ? null : textOf({ ...mark, color: mark.color ?? names.get(mark.id) }),
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

/** Where a mark is, in words. */
export function placeOf({ kind, points, text }) {
  if (!points) return text ?? "";
  const at = ([x, y]) => `${Math.floor(x)},${Math.floor(y)}`;
  if (kind === "point") return `at ${at(points[0])}`;
  if (kind === "arrow" && points.length === 1) return `to ${at(points[0])}`;
  const [x1, y1, x2, y2] = boundsOf(points);
  const [from, to] = isFreehand(kind) ? [[x1, y1], [x2, y2]] : points;
  return `from ${at(from)} to ${at(to)}`;
}

/** The marks that were typed, which stay as they are. */
export function typedMarks(slots, pictures) {
  return slots.flatMap((slot, i) => (slot.text === null ? [] : [{
    id: `slot ${i}`,
    slot: i,
    kind: slot.kind,
    locked: true,
    text: slot.text,
    points: typedPoints(slot.kind, slot.text, pictures[(slot.picture ?? 1) - 1] ?? pictures[0]),
    color: slot.color,
    colorName: slot.colorName,
    frame: slot.picture,
  }]));
}

/** The color that a slot asks for, as it is typed. */
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
