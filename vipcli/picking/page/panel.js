// Tools, the list of marks, the question, and what is said: everything around the picture.

import { KINDS, capitalized, fewest, placeOf, withArticle } from "./geometry.js";
import { icon, iconButton, make } from "./stage.js";

const VIEW = "As the model sees it";
const HELP = [
  ["1 – 8", "Choose the kind of mark"],
  ["Drag", "Draw; with Shift a square"],
  ["Click an edge", "Select a mark; drag it or its handles. With Alt, draw over it"],
  ["Wheel, pinch, + −", "Zoom; 0 shows all of the picture"],
  ["Right or space drag", "Pan; on a touch screen with two fingers"],
  ["Arrow keys", "Move the crosshair by 10 screen pixels, with Shift by one of the picture"],
  ["Space", "Set a point at the crosshair"],
  ["Enter", "Finish the mark; go on if none is being drawn"],
  ["Arrows, Alt+arrows, Delete", "Move, resize or delete the selected mark"],
  ["Ctrl+Z, Ctrl+Y", "Undo, redo"],
  ["Page Up, Page Down", "Previous or next picture"],
  ["Escape", "Abandon the mark, deselect, leave"],
];
const CORNERS = "Drag from corner to corner.";
const HINTS = {
  point: "Click the spot.",
  arrow: "Drag from tail to tip, or click for a tip alone.",
  scribble: "Drag along what you mean.",
  contour: "Drag around what you mean; it closes by itself.",
  mask: "Drag around what you mean; it is filled.",
};

export const hint = (kind) => HINTS[kind] ?? CORNERS;
export const needs = (kind) => `${capitalized(withArticle(kind))} needs ${fewest(kind)} points.`;

const group = (label, ...tools) => make("div", { className: "group", role: "group", "aria-label": label }, ...tools);

export class Panel {
  /** `picker` holds the state and does what is chosen here. */
  constructor(picker) {
    this.picker = picker;
    this.pages = make("div", { className: "pages", hidden: true });
    this.status = make("p", { className: "status", role: "status", "aria-live": "polite" });
    this.where = make("span", { className: "where" });
    this.wait = make("p", { className: "wait" }, "Loading…");
    this.help = make("dialog", { className: "help", "aria-label": "Help" },
      make("dl", {}, ...HELP.flatMap(([key, text]) => [make("dt", {}, key), make("dd", {}, text)])),
      make("form", { method: "dialog" }, make("button", { className: "quiet" }, "Close")));
    picker.stage.element.append(this.wait);
    this.elements = [
      this.#toolbar(),
      make("div", { className: "picture-side" }, picker.stage.element, this.pages,
        make("div", { className: "line" }, this.status, this.where)),
      this.#side(),
      this.help,
    ];
  }

  #toolbar() {
    const { picker } = this;
    const { stage } = picker;
    this.kinds = KINDS.map((kind, i) =>
      iconButton(kind, `${capitalized(kind)} (${i + 1})`, () => picker.chooseKind(kind)));
    this.undo = iconButton("undo", "Undo (Ctrl+Z)", () => picker.undo());
    this.redo = iconButton("redo", "Redo (Ctrl+Y)", () => picker.redo());
    this.remove = iconButton("delete", "Delete the selected mark (Delete)", () => picker.remove(picker.selected));
    this.view = iconButton("eye", VIEW, () => picker.toggleView(), { hidden: true });
    this.view.append(make("span", { className: "label" }, VIEW));
    this.swatch = make("span", { className: "swatch" });
    this.color = make("button", { type: "button", className: "tool", "aria-expanded": "false",
      onclick: () => this.openColors(this.colors.hidden) }, this.swatch);
    this.colors = make("div", { className: "colors", role: "group", "aria-label": "Color", hidden: true });
    this.palette = make("div", { className: "palette" }, this.color, this.colors);
    return make("div", { className: "toolbar", role: "toolbar", "aria-label": "Tools" },
      group("Kind of mark", ...this.kinds),
      this.palette,
      group("Changes", this.undo, this.redo, this.remove),
      group("Zoom", iconButton("out", "Zoom out (−)", () => stage.zoomBy(1 / 1.5)),
        iconButton("fit", "Show all of the picture (0)", () => stage.fit()),
        iconButton("in", "Zoom in (+)", () => stage.zoomBy(1.5))),
      group("View", this.view, iconButton("help", "Help (?)", () => this.help.showModal())));
  }

  #side() {
    const { picker } = this;
    this.guide = make("p", { className: "guide" });
    this.list = make("ol", { className: "marks", "aria-label": "Marks" });
    this.notes = make("div", { className: "notes", role: "note", hidden: true });
    this.outcome = make("div", { className: "outcome" });
    this.given = make("p", { className: "asked" });
    this.field = make("textarea", { rows: 2, className: "question", "aria-label": "Question", maxLength: 10000,
      oninput: () => picker.edited() });
    this.explanation = make("p", { className: "explanation" });
    this.problem = make("p", { className: "problem", role: "alert", hidden: true });
    this.submit = make("button", { className: "primary" });
    this.leave = make("button", { type: "button", className: "quiet", title: "Leave (Escape)",
      onclick: () => this.confirmLeaving() }, "Cancel");
    this.form = make("form", { className: "ask", onsubmit: (event) => {
      event.preventDefault();
      picker.submit();
    } }, this.given, this.field, this.explanation, this.problem,
    make("div", { className: "buttons" }, this.submit, this.leave));
    this.confirm = make("div", { className: "confirm", role: "alert", hidden: true });
    return make("div", { className: "panel" },
      this.guide, this.list, this.notes, this.outcome, this.form, this.confirm);
  }

  setUp() {
    const { question, asks, model, colors } = this.picker.info;
    this.submit.textContent = this.picker.task.button;
    this.form.hidden = !this.picker.task.button;
    this.field.hidden = this.explanation.hidden = !asks;
    if (asks) this.field.value ||= question ?? "";
    else this.given.textContent = question;
    this.view.hidden = !model;
    this.colors.replaceChildren(this.#choice(null, "Automatic"),
      ...colors.map(({ name }) => this.#choice(name, capitalized(name))));
    this.#setUpPages();
  }

  #choice(name, title) {
    return make("button", { type: "button", className: "choice", value: name ?? "",
      onclick: () => this.picker.chooseColor(name) },
    name ? this.#swatch(name) : make("span", { className: "swatch automatic" }), title);
  }

  #swatch(color) {
    const swatch = make("span", { className: "swatch" });
    swatch.style.setProperty("--color", this.picker.rgbOf(color));
    return swatch;
  }

  #setUpPages() {
    const { picker } = this;
    const { info: { pictures, video }, unit } = picker;
    this.pages.hidden = pictures.length < 2;
    this.everywhere = make("input", { type: "checkbox", onchange: () => picker.render() });
    this.slider = make("input", { type: "range", min: 1, max: pictures.length, "aria-label": "Frame",
      oninput: () => picker.show(this.slider.value - 1) });
    this.position = make("span", { className: "position" });
    this.previous = iconButton("previous", `Previous ${unit} (Page Up)`, () => picker.show(picker.index - 1));
    this.next = iconButton("next", `Next ${unit} (Page Down)`, () => picker.show(picker.index + 1));
    this.pages.replaceChildren(this.previous, ...(video ? [this.slider] : []), this.position, this.next,
      ...(video ? [make("label", {}, this.everywhere, "On all frames")] : []));
  }

  openColors(open) {
    this.colors.hidden = !open;
    this.color.setAttribute("aria-expanded", open);
  }

  say(text) {
    this.status.textContent = text;
  }

  complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
  }

  showNotes(notes) {
    this.notes.replaceChildren(...notes.map((text) => make("p", {}, text)));
    this.notes.hidden = !notes.length;
  }

  confirmLeaving() {
    const { picker } = this;
    const button = (text, className, onclick) => make("button", { type: "button", className, onclick }, text);
    this.confirm.hidden = false;
    this.confirm.replaceChildren(make("span", {}, picker.task.leave),
      button("Leave", "danger", () => picker.leave()),
      button("Stay", "quiet", () => {
        this.confirm.hidden = true;
        picker.focus();
      }));
  }


  render() {
    const { picker } = this;
    const { ended, history } = picker;
    const selected = picker.find(picker.selected);
    for (const [i, button] of this.kinds.entries()) {
      button.setAttribute("aria-pressed", KINDS[i] === picker.kind);
      button.disabled = ended;
    }
    this.undo.disabled = ended || !history.canUndo;
    this.redo.disabled = ended || !history.canRedo;
    this.remove.disabled = ended || !selected || Boolean(selected.text);
    this.submit.disabled = ended || Boolean(picker.conversation?.running);
    this.leave.disabled = this.field.disabled = ended;
    this.#renderColor(selected);
    this.#renderPages();
    this.#renderGuide();
    this.#renderList();
    this.#renderQuestion();
  }

  #renderColor(selected) {
    const { picker } = this;
    const own = selected ? selected.color : picker.color;
    const name = selected ? picker.names.get(selected.id) : picker.nextColor;
    this.swatch.style.setProperty("--color", picker.rgbOf(selected?.color ?? name));
    this.swatch.classList.toggle("automatic", !own);
    this.color.title = `Color: ${own ? name : `automatic (${name})`}`;
    this.color.disabled = picker.ended || Boolean(selected?.text);
    for (const choice of this.colors.children) choice.setAttribute("aria-pressed", choice.value === (own ?? ""));
  }

  #renderPages() {
    const { index, info: { pictures, video } } = this.picker;
    this.previous.disabled = index === 0;
    this.next.disabled = index === pictures.length - 1;
    this.slider.value = index + 1;
    this.position.textContent = `${video ? "Frame " : ""}${index + 1} of ${pictures.length}`;
    this.position.title = pictures[index].name;
  }

  #renderGuide() {
    const { active, ended, history, info: { slots }, task, unit } = this.picker;
    const describe = ({ kind, color, colorName, picture }) =>
      withArticle(`${color ? `${colorName} ` : ""}${kind}`) + (picture ? ` on ${unit} ${picture}` : "");
    let text = "";
    if (active !== null) text = `Draw {${active + 1}}: ${describe(slots[active])}`;
    else if (slots.some((slot) => slot.text === null)) text = `Everything is drawn. ${task.button} when you are ready.`;
    else if (!history.marks.length) text = "Choose a kind of mark, then draw on the picture.";
    this.guide.replaceChildren(...(active === null ? [] : [icon(slots[active].kind)]), text);
    this.guide.hidden = ended || !text;
  }

  #renderList() {
    const { conversation, ended, history, info, marks, names } = this.picker;
    const slots = info.slots.map((_, slot) => history.marks.find((mark) => mark.slot === slot) ?? { empty: true, slot });
    const rows = [...slots.filter(({ empty }) => !empty || !(ended || conversation)), ...marks.filter(({ slot }) => slot === null)];
    const focused = this.list.getRootNode().activeElement?.dataset.row;
    this.list.replaceChildren(...rows.map((mark, i) =>
      (mark.empty ? this.#emptyRow(mark.slot) : this.#markRow(mark, i + 1, names.get(mark.id)))));
    if (focused) this.list.querySelector(`[data-row="${focused}"]`)?.focus();
  }

  #markRow(mark, number, name) {
    const { picker } = this;
    const { info: { pictures, video }, unit } = picker;
    const frame = mark.frame || !video ? `, ${unit} ${mark.frame ?? 1}` : ", all frames";
    const error = picker.markErrors.get(mark.id);
    return make("li", { className: "mark" },
      this.#row(mark.id, mark.id === picker.selected, () => picker.select(mark.id), number,
        this.#swatch(mark.color ?? name), mark.kind, `${capitalized(name)} ${mark.kind} `,
        placeOf(mark) + (pictures.length > 1 ? frame : "")),
      mark.text && !picker.conversation ? make("span", { className: "locked", title: "Given on the command line" }, icon("lock"))
        : !picker.ended && iconButton("close", `Delete ${mark.kind} {${number}}`, () => picker.remove(mark.id)),
      error && make("p", { className: "problem" }, error));
  }

  #emptyRow(slot) {
    const { picker } = this;
    const { kind } = picker.info.slots[slot];
    const row = this.#row(`slot ${slot}`, slot === picker.active, () => picker.choose(slot), slot + 1,
      make("span", { className: "swatch none" }), kind, `${capitalized(kind)} `, "not drawn yet");
    row.classList.add("empty");
    return make("li", { className: "mark" }, row);
  }

  #row(id, pressed, choose, number, swatch, kind, words, place) {
    const row = make("button", { type: "button", className: "row", "aria-pressed": String(pressed),
      disabled: this.picker.ended, onclick: () => {
        choose();
        this.picker.focus();
      } },
    make("span", { className: "number" }, `{${number}}`), swatch, icon(kind),
    make("span", { className: "words" }, words, make("small", {}, place)));
    row.dataset.row = id;
    return row;
  }

  get placeholder() {
    const { facts, info: { pictures, video }, marks } = this.picker;
    const parts = marks.flatMap(({ id }) => (facts.has(id) ? `what is the object ${facts.get(id).phrase}` : []));
    const subject = video ? "this video" : pictures.length > 1 ? "these pictures" : "this picture";
    const last = parts.pop() ?? `what is shown in ${subject}`;
    return `${capitalized(parts.length ? `${parts.join(", ")}, and ${last}` : last)}?`;
  }

  #renderQuestion() {
    const { emptySlots, facts, marks } = this.picker;
    this.field.placeholder = this.placeholder;
    const first = !emptySlots.length && facts.get(marks[0]?.id);
    this.explanation.textContent = first
      ? `In a question, {1} stands for “${first.phrase}”.` : "";
  }
}
