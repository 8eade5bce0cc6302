// The page on which a person marks pictures. It talks to vipcli through a transport:
// call(name, payload) gives an object or a Blob, stream(name, payload, onLine) calls onLine with objects.

import { Conversation, Turn } from "./conversation.js";
import { fromBase64, icon, iconButton, loadImage, make, makeSvg } from "./elements.js";
import {
  KINDS, boundsOf, clamp, fewest, handlesOf, isComplete, isFreehand, isRectangle, moved, normalized, outline,
  pixelAt, resized, squareCorner, tidyPath,
} from "./geometry.js";
import {
  History, asMessage, capitalized, colorNames, inOrder, placeOf, slotColor, typedMarks, withArticle,
} from "./marks.js";
import { Stage } from "./stage.js";

const CLICK = 4; // A press that moves by less, in pixels of the screen, is a click.
const STEP = 10; // Pixels of the screen for each arrow key.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const VIEW = "As the model sees it";
const asImage = (reply) => (reply instanceof Blob ? loadImage(reply) : null);
const TASKS = {
  ask: { button: "Ask", leave: "Leave without asking?" },
  draw: { button: "Save", leave: "Leave without saving?", end: "Saved. You can close this tab." },
  mark: { button: "Add", leave: "Leave without adding marks?", end: "Added. The conversation goes on in the terminal." },
  chat: { button: "Ask", leave: "Leave the conversation?" },
};
const HINTS = {
  box: "Drag from corner to corner.",
  ellipse: "Drag from corner to corner.",
  triangle: "Drag from corner to corner.",
  point: "Click the spot.",
  arrow: "Drag from tail to tip, or click for a tip alone.",
  scribble: "Drag along what you mean.",
  contour: "Drag around what you mean; it closes by itself.",
  mask: "Drag around what you mean; it is filled.",
};
const HELP = [
  ["1 – 8", "Choose the kind of mark"],
  ["Drag", "Draw; with Shift a square"],
  ["Click an edge", "Select a mark; drag it to move it, or its handles to resize it. Alt draws over it"],
  ["Wheel, pinch, + −", "Zoom; 0 shows all of the picture"],
  ["Right or space drag", "Pan; on a touch screen with two fingers"],
  ["Arrow keys", "Move the crosshair by 10 pixels of the screen, with Shift by one of the picture"],
  ["Space", "Set a corner, a point or an end at the crosshair"],
  ["Enter", "Finish the mark, or go on when nothing is being drawn"],
  ["Arrows, Alt+arrows", "Move or resize the selected mark"],
  ["Delete", "Delete the selected mark"],
  ["Ctrl+Z, Ctrl+Y", "Undo, redo"],
  ["Page Up, Page Down", "Previous or next picture"],
  ["Escape", "Abandon the mark, deselect, leave"],
];

/** Build the page inside `root`. Returns a function that takes it down again. */
export function mount(root, transport, options = {}) {
  const picker = new Picker(root, transport, options);
  picker.start();
  return () => picker.close();
}

class Picker {
  #ids = 0;
  #tickets = { preview: 0, region: 0, picture: 0, view: 0 };
  #running = 0;
  #again = false;
  #frame = 0;
  #timer = 0;

  constructor(host, transport, { keys = host, storage = null }) {
    const root = make("div", { className: "picker by-pointer" });
    host.classList.add("picker-host");
    host.replaceChildren(root);
    this.root = root;
    this.transport = transport;
    this.storage = storage;
    this.keys = keys;
    // Several pages may be open; this names the one that sends marks.
    this.page = String(Math.random()).slice(2);
    this.stage = new Stage(this);
    this.build();
    this.listeners = [
      [keys, "keydown", (event) => this.keyDown(event)],
      [keys, "keyup", (event) => this.keyUp(event)],
      // After a click, keys are for the picture again.
      [root, "click", ({ target, detail }) => detail && target.closest(".tool, .choice, .row") && !this.help.open
        && this.colors.hidden && this.stage.element.focus({ preventScroll: true })],
      [root, "pointerdown", (event) => {
        root.classList.add("by-pointer");
        if (!this.palette.contains(event.target)) this.togglePalette(false);
      }],
    ];
    for (const [target, name, listener] of this.listeners) target.addEventListener(name, listener);
  }

  close() {
    for (const [target, name, listener] of this.listeners) target.removeEventListener(name, listener);
    this.stage.close();
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.root.remove();
  }

  // ------------------------------------------------------------------ what is on the page

  build() {
    this.tools = new Map(KINDS.map((kind, i) => [kind, iconButton(kind, `${capitalized(kind)} (${i + 1})`, () =>
      this.chooseKind(kind))]));
    this.undoButton = iconButton("undo", "Undo (Ctrl+Z)", () => this.undo());
    this.redoButton = iconButton("redo", "Redo (Ctrl+Y)", () => this.redo());
    this.deleteButton = iconButton("delete", "Delete the selected mark (Delete)", () => this.remove(this.selected));
    this.viewButton = iconButton("eye", VIEW, () => this.toggleView(), { hidden: true });
    this.viewButton.append(make("span", { className: "label" }, VIEW));
    this.help = make("dialog", { className: "help", "aria-label": "Help" },
      make("dl", {}, ...HELP.flatMap(([key, text]) => [make("dt", {}, key), make("dd", {}, text)])),
      make("form", { method: "dialog" }, make("button", { className: "quiet" }, "Close")));
    this.toolbar = make("div", { className: "toolbar", role: "toolbar", "aria-label": "Tools" },
      make("div", { className: "group", role: "group", "aria-label": "Kind of mark" }, ...this.tools.values()),
      this.buildPalette(),
      make("div", { className: "group" }, this.undoButton, this.redoButton, this.deleteButton),
      make("div", { className: "group" },
        iconButton("out", "Zoom out (−)", () => this.stage.zoomBy(1 / 1.5)),
        iconButton("fit", "Show all of the picture (0)", () => this.stage.fit()),
        iconButton("in", "Zoom in (+)", () => this.stage.zoomBy(1.5))),
      make("div", { className: "group" }, this.viewButton,
        iconButton("help", "Help (?)", () => this.help.showModal())));
    this.status = make("p", { className: "status", role: "status", "aria-live": "polite" });
    this.where = make("span", { className: "where" });
    this.wait = make("p", { className: "wait" }, "Loading…");
    this.stage.element.append(this.wait);
    this.pages = make("div", { className: "pages", hidden: true });
    this.buildPanel();
    this.root.replaceChildren(
      this.toolbar,
      make("div", { className: "picture-side" }, this.stage.element, this.pages,
        make("div", { className: "line" }, this.status, this.where)),
      this.panel,
      this.help,
    );
  }

  buildPalette() {
    this.swatch = make("span", { className: "swatch" });
    this.colorButton = make("button", {
      type: "button", className: "tool", "aria-haspopup": "true", "aria-expanded": "false",
      onclick: () => this.togglePalette(this.colors.hidden),
    }, this.swatch);
    this.colors = make("div", { className: "colors", role: "group", "aria-label": "Color", hidden: true });
    this.palette = make("div", { className: "palette" }, this.colorButton, this.colors);
    return this.palette;
  }

  buildPanel() {
    this.guide = make("p", { className: "guide" });
    this.list = make("ol", { className: "marks", "aria-label": "Marks" });
    this.notes = make("div", { className: "notes", role: "note", hidden: true });
    this.field = make("textarea", {
      rows: 2, className: "question", "aria-label": "Question", maxLength: 10000,
      oninput: () => this.edited(),
    });
    this.explanation = make("p", { className: "explanation" });
    this.given = make("p", { className: "given", hidden: true });
    this.problem = make("p", { className: "problem", role: "alert", hidden: true });
    this.submitButton = make("button", { className: "primary" }, "…");
    this.leaveButton = make("button", { type: "button", className: "quiet", title: "Leave (Escape)",
      onclick: () => this.askToLeave() }, "Cancel");
    this.form = make("form", { className: "ask", onsubmit: (event) => {
      event.preventDefault();
      this.submit();
    } }, this.given, this.field, this.explanation, this.problem,
    make("div", { className: "buttons" }, this.submitButton, this.leaveButton));
    this.confirm = make("div", { className: "confirm", role: "alert", hidden: true });
    this.outcome = make("div", { className: "outcome" });
    this.panel = make("div", { className: "panel" },
      this.guide, this.list, this.notes, this.outcome, this.form, this.confirm);
  }

  // ------------------------------------------------------------------ beginning

  async start() {
    // The picture is asked for at once, since it takes the longest.
    const first = this.call("picture", { picture: 0 });
    first.catch(() => {});
    const info = await this.call("start", {});
    if (!info) return;
    this.begin(info, first);
    if (this.sent) {
      this.end();
      this.awaitAnswer();
    }
    this.listen();
  }

  /** Show a task: pictures, and the marks that are wanted on them. */
  begin(info, first = null) {
    this.info = info;
    this.task = TASKS[info.task];
    this.images = new Map(first ? [[0, first.then(asImage)]] : []);
    this.history = new History(typedMarks(info.slots, info.pictures));
    this.kind = "box";
    this.color = null;
    this.selected = null;
    this.draft = null;
    this.lifted = null;
    this.crosshair = null;
    this.truth = new Map();
    this.facts = new Map();
    this.markErrors = new Map();
    this.index = -1;
    this.active = null;
    this.ended = false;
    this.restore();
    this.setUpPanel();
    this.setUpPages();
    this.setUpColors();
    this.show(this.firstPicture());
    this.nextSlot();
    this.render();
    this.stage.element.focus({ preventScroll: true });
  }

  firstPicture() {
    const slot = this.info.slots.find(({ text }) => text === null);
    return clamp((slot?.picture ?? 1) - 1, 0, this.info.pictures.length - 1);
  }

  setUpPanel() {
    const { task, question, asks, model } = this.info;
    this.submitButton.textContent = this.task.button;
    this.field.hidden = this.explanation.hidden = !asks;
    this.field.value ||= asks ? question ?? "" : "";
    this.given.hidden = asks || !question;
    this.given.textContent = question ?? "";
    this.viewButton.hidden = !model;
    if (task === "chat") {
      this.conversation?.close();
      this.conversation = new Conversation(this, this.info.conversation);
      this.outcome.replaceChildren(this.conversation.element);
      this.root.classList.add("chat");
      this.leaveButton.hidden = true;
    }
  }

  setUpPages() {
    const { pictures, video } = this.info;
    const count = pictures.length;
    this.pages.hidden = count < 2;
    this.everywhere = make("input", { type: "checkbox", onchange: () => this.render() });
    this.slider = make("input", { type: "range", min: 1, max: count, step: 1, "aria-label": "Frame",
      oninput: () => this.show(Number(this.slider.value) - 1) });
    this.position = make("span", { className: "position" });
    this.previous = iconButton("previous", `Previous ${this.unit} (Page Up)`, () => this.show(this.index - 1));
    this.next = iconButton("next", `Next ${this.unit} (Page Down)`, () => this.show(this.index + 1));
    this.pages.replaceChildren(this.previous, ...(video ? [this.slider] : []), this.position, this.next,
      ...(video ? [make("label", {}, this.everywhere, "On all frames")] : []));
  }

  setUpColors() {
    const choice = (name, rgb, title) => {
      const swatch = make("span", { className: name ? "swatch" : "swatch automatic" });
      if (rgb) swatch.style.setProperty("--color", rgb);
      return make("button", { type: "button", className: "choice", title, "aria-label": title, value: name ?? "",
        onclick: () => this.chooseColor(name) }, swatch, make("span", {}, title));
    };
    this.colors.replaceChildren(choice(null, null, "Automatic"),
      ...this.info.colors.map(({ name, rgb }) => choice(name, rgb, capitalized(name))));
  }

  get unit() {
    return this.info.video ? "frame" : "picture";
  }

  get size() {
    return this.info.pictures[this.index];
  }

  get marks() {
    return inOrder(this.history.marks);
  }

  get message() {
    return asMessage(this.marks);
  }

  get busy() {
    return !this.info || this.ended;
  }

  // ------------------------------------------------------------------ pictures

  async show(index) {
    if (!this.info.pictures[index] || index === this.index) return;
    this.abandon();
    const ticket = ++this.#tickets.picture;
    this.index = index;
    this.truth = new Map();
    if (this.selected && !this.isHere(this.find(this.selected))) this.selected = null;
    const { name, width, height, factor } = this.size;
    this.stage.open(this.size);
    this.crosshair = null;
    this.wait.textContent = `Loading ${name}…`;
    this.wait.hidden = false;
    this.stage.element.setAttribute("aria-label", `${name}, ${width} × ${height} pixels. Arrow keys move a `
      + "crosshair, Space sets a point there, Enter finishes. Press ? for help.");
    this.preview();
    this.render();
    if (this.viewing) this.showView();
    const image = await this.image(index);
    if (ticket !== this.#tickets.picture || !image) return;
    image.alt = `${name} without marks`;
    this.wait.hidden = true;
    this.stage.show("picture", image, 0, 0, factor);
    if (this.info.pictures[index + 1]) this.image(index + 1);
  }

  image(index) {
    if (!this.images.has(index)) {
      this.images.set(index, this.call("picture", { picture: index }).then(asImage));
    }
    return this.images.get(index).catch(() => {
      this.images.delete(index);
      this.wait.textContent = `${this.info.pictures[index].name} cannot be shown.`;
      return null;
    });
  }

  /** Whether a mark is on the picture that is shown. */
  isHere(mark) {
    if (!mark) return false;
    if (this.info.video) return mark.frame === null || mark.frame === this.index + 1;
    return (mark.frame ?? 1) === this.index + 1;
  }

  /** The picture that a new mark here is for, as it is typed: null where none needs to be. */
  get frameHere() {
    if (this.info.video) return this.everywhere.checked ? null : this.index + 1;
    return this.index === 0 ? null : this.index + 1;
  }

  // ------------------------------------------------------------------ marks that were asked for

  isEmpty(slot) {
    return this.info.slots[slot].text === null && !this.history.marks.some((mark) => mark.slot === slot);
  }

  get emptySlots() {
    return this.info.slots.map((_, i) => i).filter((i) => this.isEmpty(i));
  }

  nextSlot() {
    const empty = this.emptySlots;
    this.choose(empty.find((i) => i > (this.active ?? -1)) ?? empty[0] ?? null);
  }

  /** Ask for the mark of a slot. */
  choose(slot) {
    this.active = slot;
    if (slot === null) return;
    const { kind, picture } = this.info.slots[slot];
    this.kind = kind;
    if (picture) this.show(picture - 1);
  }

  slotFor(kind) {
    const fits = (i) => {
      const slot = this.info.slots[i];
      const here = this.info.video && this.everywhere.checked ? null : this.index + 1;
      return this.isEmpty(i) && slot.kind === kind
        && (!slot.color || !this.color || slotColor(slot, this.info.colors) === this.color)
        && (slot.picture === null || slot.picture === here);
    };
    const slots = this.info.slots.map((_, i) => i);
    return [...(this.active === null ? [] : [this.active]), ...slots].find(fits) ?? null;
  }

  describeSlot({ kind, color, colorName, picture }) {
    return `${withArticle(`${color ? `${colorName} ` : ""}${kind}`)}${picture ? ` on ${this.unit} ${picture}` : ""}`;
  }

  // ------------------------------------------------------------------ changes

  find(id) {
    return this.history.marks.find((mark) => mark.id === id);
  }

  add(points, select) {
    const kind = this.kind;
    const slot = this.slotFor(kind);
    const wanted = slot === null ? null : this.info.slots[slot];
    const color = this.color ?? (wanted && slotColor(wanted, this.info.colors)) ?? null;
    const mark = {
      id: `mark ${++this.#ids}`, slot, kind, points: normalized(kind, points), color,
      colorName: color && color === wanted?.color ? wanted.colorName : color, frame: this.frameHere,
    };
    this.selected = select ? mark.id : null;
    this.change([...this.history.marks, mark]);
    this.nextSlot();
    this.announce(mark);
    this.render();
  }

  replace(mark, changes, step = null) {
    this.change(this.history.marks.map((other) => (other === mark ? { ...mark, ...changes } : other)), step);
    this.announce(this.find(mark.id));
  }

  remove(id) {
    const mark = this.find(id);
    if (!mark || mark.locked || this.busy) return;
    if (this.selected === id) this.selected = null;
    this.change(this.history.marks.filter((other) => other !== mark));
    if (mark.slot !== null) this.choose(mark.slot);
    this.say(`Deleted: ${mark.kind} ${placeOf(mark)}.`);
    this.render();
  }

  change(marks, step = null) {
    this.history.change(marks, step);
    this.changed();
  }

  undo() {
    if (this.draft) return this.abandon();
    if (!this.history?.canUndo || this.busy) return undefined;
    this.history.undo();
    return this.stepped("Undone.");
  }

  redo() {
    if (!this.history?.canRedo || this.busy) return;
    this.history.redo();
    this.stepped("Done again.");
  }

  stepped(text) {
    if (!this.find(this.selected)) this.selected = null;
    if (this.active === null || !this.isEmpty(this.active)) {
      this.active = null;
      this.nextSlot();
    }
    this.changed();
    this.say(text);
  }

  changed() {
    this.warned = false;
    this.problem.hidden = true;
    this.markErrors.clear();
    this.askedToLeave(false);
    this.hideDrawn();
    this.save();
    this.preview();
    this.render();
    if (this.viewing) this.showView();
  }

  edited() {
    this.warned = false;
    this.problem.hidden = true;
    this.save();
  }

  // ------------------------------------------------------------------ what Python draws

  /** Have the marks drawn; the reply replaces the light outlines. */
  async preview() {
    if (this.#running > 1) {
      this.#again = true;
      return;
    }
    const ticket = ++this.#tickets.preview;
    const { index, lifted } = this;
    const marks = this.marks.filter(({ id }) => id !== lifted?.id);
    this.#running += 1;
    const reply = await this.call("preview", {
      picture: index, marks: asMessage(marks, lifted ? this.names : undefined),
    });
    const image = reply?.overlay && await loadImage(fromBase64(reply.overlay.image));
    this.#running -= 1;
    if (this.#again && !this.#running) {
      this.#again = false;
      this.preview();
      return;
    }
    if (!reply || ticket !== this.#tickets.preview) return;
    if (reply.error) return this.rejected(reply, marks);
    this.truth = new Map(marks.filter((mark) => this.isHere(mark)).map(({ id, points }) => [id, points]));
    this.putOverlay(image, reply.overlay);
    if (lifted) return this.paint();
    this.facts = new Map(marks.map(({ id }, i) => [id, reply.marks[i]]));
    this.showNotes(reply.notes);
    this.render();
    this.viewChanged();
  }

  putOverlay(image, overlay) {
    if (image) {
      image.alt = "The marks";
      this.stage.show("overlay", image, overlay.left, overlay.top, overlay.factor);
    } else {
      this.stage.show("overlay", null);
    }
    this.paintNow();
  }

  rejected({ error, mark }, marks) {
    if (mark === null || mark === undefined) this.complain(error);
    else this.markErrors.set(marks[mark].id, error);
    this.say(error);
    this.render();
  }

  /** The names of colors as vipcli will assign them, with the mark that is being drawn. */
  get names() {
    return colorNames(this.marks, this.info.colors.map(({ name }) => name));
  }

  rgbOf(name) {
    return name?.startsWith("#") ? name : this.info.colors.find((color) => color.name === name)?.rgb ?? "#888";
  }

  colorOf(mark) {
    return this.rgbOf(mark.color ?? this.names.get(mark.id));
  }

  /** The color that the next mark would get. */
  get nextColor() {
    const slot = this.slotFor(this.kind);
    const color = this.color ?? (slot === null ? null : slotColor(this.info.slots[slot], this.info.colors));
    if (color) return color;
    const next = { id: "next", slot, kind: this.kind, color: null };
    return colorNames(inOrder([...this.history.marks, next]), this.info.colors.map(({ name }) => name)).get("next");
  }

  viewChanged() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.sharpen(), 150);
    this.showWhere();
  }

  /** Fetch the real pixels of what can be seen, if the picture is reduced and zoomed in. */
  async sharpen() {
    if (this.busy || this.index < 0 || this.size.factor === 1) return;
    const { stage, index } = this;
    const ticket = ++this.#tickets.region;
    const factor = Math.max(Math.floor(1 / (stage.zoom * devicePixelRatio)), 1);
    if (factor >= this.size.factor) {
      stage.show("region", null);
      stage.show("drawn", null);
      return;
    }
    const [left, top, right, bottom] = stage.visible.map((edge, i) =>
      (i < 2 ? Math.floor(edge / factor) * factor : Math.min(Math.ceil(edge / factor) * factor, [this.size.width,
        this.size.height][i - 2])));
    if (left >= right || top >= bottom) return;
    const fetchLayer = async (name, marks) => {
      const blob = await this.call("region", { picture: index, marks, left, top, right, bottom, factor });
      const image = await asImage(blob);
      if (!image || ticket !== this.#tickets.region) return;
      image.alt = "";
      stage.show(name, image, left, top, factor);
    };
    const here = !this.lifted && this.marks.some((mark) => this.isHere(mark));
    const version = this.#tickets.preview;
    await fetchLayer("region", []);
    if (here && version === this.#tickets.preview && !this.lifted) await fetchLayer("drawn", this.message);
  }

  hideDrawn() {
    this.#tickets.region += 1;
    this.stage.show("drawn", null);
  }

  async toggleView() {
    if (!this.info?.model) return;
    this.viewing = !this.viewing;
    this.abandon();
    this.viewButton.setAttribute("aria-pressed", this.viewing);
    this.stage.modelView.hidden = !this.viewing;
    this.stage.element.classList.toggle("viewing", this.viewing);
    if (this.viewing) await this.showView();
    this.paint();
  }

  async showView() {
    const ticket = ++this.#tickets.view;
    const reply = await this.call("view", { picture: this.index, marks: this.message });
    if (ticket !== this.#tickets.view || !reply) return;
    if (!(reply instanceof Blob)) return this.complain(reply.error);
    const image = await loadImage(reply);
    image.alt = "The marked picture as the model sees it";
    const side = this.info.viewSize ?? image.naturalWidth;
    this.stage.modelView.replaceChildren(image, make("p", {}, `${this.info.model}, ${side} × ${side} pixels`));
    this.say("This is what the model sees.");
  }

  // ------------------------------------------------------------------ outlines and handles

  paint() {
    this.#frame ||= requestAnimationFrame(() => this.paintNow());
  }

  paintNow() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (!this.info || this.index < 0) return;
    const shapes = [];
    const { stage } = this;
    const place = (point) => stage.toScreen(point);
    const path = (kind, points) => outline(kind, points, this.size, place);
    const light = (d, rgb, kind) => {
      const line = makeSvg("path", { class: kind === "mask" ? "light filled" : "light", d, stroke: rgb, fill: rgb });
      shapes.push(makeSvg("path", { class: "halo", d }), line);
    };
    const marks = this.marks.filter((mark) => this.isHere(mark) && mark.points).map((mark) =>
      (mark.id === this.lifted?.id ? { ...mark, points: this.lifted.points } : mark));
    // An overlay that shows a mark where it is no longer would show it twice.
    const outdated = marks.some(({ id, points }) => this.truth.has(id) && this.truth.get(id) !== points);
    stage.layers.overlay.hidden = outdated;
    for (const mark of marks) {
      const d = path(mark.kind, mark.points);
      if (outdated || !this.truth.has(mark.id)) light(d, this.colorOf(mark), mark.kind);
      if (!this.busy) shapes.push(makeSvg("path", { class: "hit", d, "data-mark": mark.id }));
    }
    const selected = marks.find(({ id }) => id === this.selected);
    if (selected && !this.busy) shapes.push(...this.handles(selected, place));
    if (this.draft) light(path(this.draft.kind, this.draftPoints), this.rgbOf(this.nextColor), this.draft.kind);
    if (this.draft?.vertices) {
      for (const [x, y] of this.draft.vertices.map(place)) shapes.push(makeSvg("circle", { cx: x, cy: y, r: 3, class: "vertex" }));
    }
    if (this.crosshair) shapes.push(...this.crosshairLines(place(this.crosshair)));
    stage.svg.replaceChildren(...shapes);
  }

  handles({ kind, points, locked }, place) {
    const [x1, y1, x2, y2] = boundsOf(points);
    const [[left, top], [right, bottom]] = [place([x1, y1]), place([x2, y2])];
    const frame = isFreehand(kind) || locked
      ? [makeSvg("rect", { class: "frame", x: left - 4, y: top - 4, width: right - left + 8, height: bottom - top + 8 })]
      : [];
    if (locked) return frame;
    const small = Math.max(right - left, bottom - top) < 60;
    const shown = handlesOf(kind, points).filter(([name]) => !small || !/^[nesw]$/.test(name));
    return [...frame, ...shown.flatMap(([name, x, y]) => {
      const [cx, cy] = place([x, y]);
      return [
        makeSvg("circle", { class: `grip ${name}`, cx, cy, r: 10, "data-handle": name }),
        makeSvg("rect", { class: `handle ${name}`, x: cx - 4.5, y: cy - 4.5, width: 9, height: 9, rx: 2, "data-handle": name }),
      ];
    })];
  }

  crosshairLines([x, y]) {
    const { clientWidth: width, clientHeight: height } = this.stage.element;
    const d = `M0 ${y}H${x - 7}M${x + 7} ${y}H${width}M${x} 0V${y - 7}M${x} ${y + 7}V${height}`;
    return [makeSvg("path", { class: "halo", d }), makeSvg("path", { class: "crosshair", d })];
  }

  get draftPoints() {
    const { kind, vertices, points } = this.draft;
    if (!vertices) return points;
    const at = this.crosshair;
    return isRectangle(kind) ? [vertices[0], at] : [...vertices, at];
  }

  // ------------------------------------------------------------------ the pointer

  press(position, event) {
    if (this.busy || this.viewing) return null;
    this.abandon();
    this.crosshair = null;
    this.paint();
    const { handle: grip, mark: id } = event.altKey ? {} : event.target.dataset;
    const selected = this.find(this.selected);
    const handle = selected && grip;
    if (handle && handle !== "move") return this.takeHandle(selected, handle);
    if ((handle || (id && id === this.selected)) && !selected.locked) return this.takeMark(selected, position);
    return this.drawing(position, event, id);
  }

  /** A gesture that changes a mark; `points` gives its points for a position. */
  lifting(mark, points) {
    const finish = (keep) => {
      const { lifted } = this;
      this.lifted = null;
      if (keep && lifted) this.replace(mark, { points: lifted.points });
      else if (lifted) this.preview();
      this.paint();
    };
    this.gesture = { abandon: () => finish(false) };
    const gesture = this.gesture;
    const ifGoing = (act) => (...values) => this.gesture === gesture && act(...values);
    return {
      move: ifGoing((position, event) => {
        const changed = points(position, event);
        if (String(changed) === String(this.lifted?.points ?? mark.points)) return;
        const first = !this.lifted;
        this.lifted = { id: mark.id, points: changed };
        if (first) {
          this.hideDrawn();
          this.preview();
        }
        this.hover(position);
        this.paint();
      }),
      end: ifGoing(() => {
        this.gesture = null;
        finish(true);
      }),
      cancel: ifGoing(() => {
        this.gesture = null;
        finish(false);
      }),
    };
  }

  takeHandle(mark, handle) {
    return this.lifting(mark, (position, event) =>
      resized(mark.kind, mark.points, handle, pixelAt(position, this.size), this.size, event.shiftKey));
  }

  takeMark(mark, start) {
    return this.lifting(mark, ([x, y]) =>
      moved(mark.points, Math.round(x - start[0]), Math.round(y - start[1]), this.size));
  }

  /** A gesture that draws a mark; a click on the edge of another selects that one. */
  drawing(start, event, clicked) {
    const { kind, size } = this;
    const first = pixelAt(start, size);
    const origin = [event.clientX, event.clientY];
    const path = [start];
    this.draft = { kind, points: isFreehand(kind) || isRectangle(kind) ? [first, first] : [first] };
    let far = false;
    const draft = this.draft;
    const ifGoing = (act) => (...values) => this.draft === draft && act(...values);
    this.paint();
    return {
      move: ifGoing((position, { clientX, clientY, shiftKey }) => {
        const pixel = pixelAt(position, size);
        far ||= Math.hypot(clientX - origin[0], clientY - origin[1]) >= CLICK;
        path.push([clamp(position[0], 0, size.width - 0.01), clamp(position[1], 0, size.height - 0.01)]);
        if (isRectangle(kind)) draft.points = [first, shiftKey ? squareCorner(first, pixel, size) : pixel];
        else if (kind === "point") draft.points = [pixel];
        else if (kind === "arrow") draft.points = far && String(first) !== String(pixel) ? [first, pixel] : [first];
        else draft.points = path.map(([x, y]) => [x - 0.5, y - 0.5]);
        if (far && this.selected) {
          this.selected = null;
          this.render();
        }
        this.hover(position);
        this.paint();
      }),
      end: ifGoing(() => {
        this.draft = null;
        const points = isFreehand(kind) ? tidyPath(kind, path, this.stage.zoom, size) : draft.points;
        if (!far && clicked) this.select(clicked);
        else if (isComplete(kind, points)) this.add(points, true);
        else {
          this.select(null);
          this.say(HINTS[kind]);
        }
      }),
      cancel: ifGoing(() => this.abandon()),
    };
  }

  hover(position) {
    this.pixel = position && this.info ? position : null;
    this.showWhere();
  }

  showWhere() {
    if (this.busy || this.index < 0) return;
    const zoom = `${Math.round(this.stage.zoom * 100)} %`;
    const inside = this.pixel && this.pixel[0] >= 0 && this.pixel[1] >= 0
      && this.pixel[0] < this.size.width && this.pixel[1] < this.size.height;
    const at = this.crosshair ?? (inside ? pixelAt(this.pixel, this.size) : null);
    this.where.textContent = at ? `${at[0]}, ${at[1]} · ${zoom}` : zoom;
  }

  abandon() {
    const going = this.draft || this.lifted;
    this.draft = null;
    const { gesture } = this;
    this.gesture = null;
    gesture?.abandon();
    if (going) this.paint();
    return Boolean(going);
  }

  select(id) {
    const mark = this.find(id);
    this.selected = mark ? id : null;
    if (mark && !this.isHere(mark)) this.show((mark.frame ?? 1) - 1);
    if (mark) {
      const label = `${mark.kind} ${placeOf(mark)}`;
      this.say(mark.locked
        ? `Selected: ${label}. It was given on the command line and stays as it is.`
        : `Selected: ${label}. Arrow keys move it, Alt and arrow keys resize it, Delete deletes it.`);
    }
    this.render();
  }

  // ------------------------------------------------------------------ choices

  chooseKind(kind) {
    if (this.busy) return;
    this.abandon();
    this.kind = kind;
    this.selected = null;
    this.say(`${capitalized(kind)}. ${HINTS[kind]}`);
    this.render();
  }

  chooseColor(name) {
    const mark = this.find(this.selected);
    if (mark && !mark.locked) this.replace(mark, { color: name, colorName: name });
    else this.color = name;
    this.togglePalette(false);
    this.colorButton.focus();
    this.render();
  }

  togglePalette(open) {
    if (open && this.busy) return;
    this.colors.hidden = !open;
    this.colorButton.setAttribute("aria-expanded", open);
  }

  // ------------------------------------------------------------------ keys

  keyDown(event) {
    this.root.classList.remove("by-pointer");
    if (event.defaultPrevented || this.help.open || !this.info) return;
    const target = event.composedPath()[0];
    const inField = target.matches?.("textarea, select, input:not([type=checkbox], [type=range])");
    if (event.key === "Escape") return this.escape(event, inField);
    if (this.busy) return undefined;
    if (inField) return this.fieldKey(event);
    if (event.ctrlKey || event.metaKey) return this.shortcut(event);
    const act = this.keyAction(event, target);
    if (act) {
      event.preventDefault();
      act();
    }
    return undefined;
  }

  keyUp(event) {
    if (event.key !== " " || !this.stage.panning) return;
    this.stage.panning = false;
    this.stage.element.classList.remove("ready-to-pan");
    if (!this.stage.panned && !this.busy) this.setVertex();
  }

  fieldKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.submit();
    }
  }

  shortcut(event) {
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) this.redo();
    else this.undo();
  }

  keyAction(event, target) {
    const { key } = event;
    const onButton = target.matches?.("button");
    if (KINDS[key - 1] && !event.altKey) return () => this.chooseKind(KINDS[key - 1]);
    const simple = {
      "+": () => this.stage.zoomBy(1.5),
      "=": () => this.stage.zoomBy(1.5),
      "-": () => this.stage.zoomBy(1 / 1.5),
      "−": () => this.stage.zoomBy(1 / 1.5),
      0: () => this.stage.fit(),
      "?": () => this.help.showModal(),
      Delete: () => this.remove(this.selected),
      Backspace: () => this.remove(this.selected),
      PageUp: () => this.show(this.index - 1),
      PageDown: () => this.show(this.index + 1),
    }[key];
    if (simple) return simple;
    if (onButton || (target.matches?.("input") && key !== "Enter")) return this.letter(event);
    if (ARROWS[key]) return () => this.arrowKey(ARROWS[key], event);
    if (key === "Enter") return () => (this.draft?.vertices ? this.finish() : this.submit());
    if (key === " ") return () => this.holdSpace();
    return this.letter(event);
  }

  /** A letter begins or goes on with the question. */
  letter({ key, altKey }) {
    if (!altKey && !this.field.hidden && /^\p{L}$/u.test(key)) this.field.focus();
    return null;
  }

  holdSpace() {
    if (this.stage.panning) return;
    this.stage.panning = true;
    this.stage.panned = false;
    this.stage.element.classList.add("ready-to-pan");
  }

  arrowKey([dx, dy], { shiftKey, altKey }) {
    if (this.viewing) return;
    const step = shiftKey ? 1 : Math.max(Math.round(STEP / this.stage.zoom), 1);
    const mark = this.find(this.selected);
    if (mark && !mark.locked) this.nudge(mark, dx * step, dy * step, altKey);
    else this.moveCrosshair(dx * step, dy * step);
  }

  nudge(mark, dx, dy, resize) {
    const { kind, points } = mark;
    const [, , right, bottom] = boundsOf(points);
    const handle = kind === "arrow" ? String(points.length - 1) : "se";
    const [x, y] = kind === "arrow" ? points.at(-1) : [right, bottom];
    const changed = resize
      ? resized(kind, points, handle, pixelAt([x + dx, y + dy], this.size), this.size)
      : moved(points, dx, dy, this.size);
    if (String(changed) !== String(points)) this.replace(mark, { points: changed }, `${mark.id} ${resize}`);
    this.stage.reveal(changed.at(-1));
  }

  moveCrosshair(dx, dy) {
    const [left, top, right, bottom] = this.stage.visible;
    const from = this.crosshair ?? [Math.floor((left + right) / 2), Math.floor((top + bottom) / 2)];
    this.crosshair = this.crosshair ? pixelAt([from[0] + dx, from[1] + dy], this.size) : pixelAt(from, this.size);
    this.stage.reveal(this.crosshair);
    this.say(this.crosshair.join(", "));
    this.showWhere();
    this.paint();
  }

  /** Set a corner, a point or an end at the crosshair. */
  setVertex() {
    if (this.viewing || this.ended) return;
    if (!this.crosshair) return this.moveCrosshair(0, 0);
    this.selected = null;
    this.draft ??= { kind: this.kind, vertices: [] };
    const { kind, vertices } = this.draft;
    vertices.push(this.crosshair);
    const wanted = kind === "point" ? 1 : isFreehand(kind) ? Infinity : 2;
    if (vertices.length >= wanted) return this.finish();
    this.say(isFreehand(kind)
      ? `Point ${vertices.length} set. Enter finishes.`
      : kind === "arrow" ? "Tail set. Move to the tip and press Space; Enter makes this the tip." : "Corner set. Move to the opposite one and press Space.");
    return this.paint();
  }

  /** Finish the mark that is being drawn with the keyboard. */
  finish() {
    const { kind, vertices } = this.draft;
    const points = isRectangle(kind) ? [vertices[0], this.crosshair]
      : kind === "arrow" && String(vertices[0]) === String(this.crosshair) ? [vertices[0]]
      : kind === "arrow" ? [vertices[0], this.crosshair] : vertices;
    if (!isComplete(kind, points)) {
      if (isRectangle(kind)) vertices.length = 1;
      return this.say(isFreehand(kind)
        ? `${withArticle(kind)[0].toUpperCase()}${withArticle(kind).slice(1)} needs ${fewest(kind)} points.`
        : "Move the crosshair to the opposite corner.");
    }
    this.draft = null;
    return this.add(points, false);
  }

  escape(event, inField) {
    if (!this.colors.hidden) {
      this.togglePalette(false);
      return this.colorButton.focus();
    }
    if (inField) return this.stage.element.focus();
    if (this.busy) return undefined;
    event.preventDefault();
    if (this.abandon()) return this.say("Abandoned.");
    if (this.selected) return this.select(null);
    if (this.crosshair) {
      this.crosshair = null;
      return this.paint();
    }
    return this.confirm.hidden ? this.askToLeave() : this.leave();
  }

  // ------------------------------------------------------------------ going on, leaving

  async submit() {
    if (this.busy) return;
    if (this.draft?.vertices) this.finish();
    const empty = this.emptySlots;
    if (empty.length && !this.warned) {
      this.warned = true;
      const kinds = empty.map((i) => `the ${this.info.slots[i].kind}`).join(" and ");
      const [are, them] = empty.length === 1 ? ["is", "it"] : ["are", "them"];
      const shifted = this.marks.some((mark) => this.numberOf(mark) > empty[0] + 1);
      this.complain(`${capitalized(kinds)} ${are} not drawn yet. Press Enter again to go on without ${them}.${
        shifted ? ` The marks after are numbered as if ${them} were not there.` : ""}`);
      return;
    }
    const question = this.info.asks || this.info.task === "chat" ? this.field.value.trim() || null : null;
    const marks = this.message;
    if (this.conversation) {
      if (this.conversation.running) return;
      this.field.value = "";
      this.save();
      this.conversation.ask({ marks, question });
      return;
    }
    this.end();
    const reply = await this.call("done", { marks, question, page: this.page });
    if (!reply) return;
    if (reply.error) {
      this.again();
      this.complain(reply.error);
      return;
    }
    this.sent = { question: question ?? this.info.question ?? this.placeholder };
    this.save();
    this.awaitAnswer();
  }

  /** From here on, nothing can be changed. */
  end() {
    this.abandon();
    this.ended = true;
    this.selected = null;
    this.root.classList.add("ended");
    this.askedToLeave(false);
    this.render();
  }

  again() {
    this.ended = false;
    this.root.classList.remove("ended");
    this.render();
  }

  /** Show that the marks were sent, and the answer as it comes. */
  awaitAnswer() {
    this.form.hidden = true;
    this.guide.hidden = true;
    this.turn ??= new Turn(this.sent?.question ?? this.placeholder);
    if (this.info.task === "ask") this.outcome.replaceChildren(this.turn.element);
  }

  /** Follow what the command tells, to the end. */
  async listen() {
    let last = null;
    try {
      await this.transport.stream("events", { page: this.page }, (line) => {
        if (line.text) this.hear(line.text);
        else if (Object.keys(line).length) last = line;
      });
    } catch {
      // What follows says so.
    }
    if (!this.left) this.conclude(last);
  }

  hear(piece) {
    if (!this.turn) {
      this.end();
      this.awaitAnswer();
    }
    this.turn.add(piece);
  }

  conclude(last) {
    if (!last) return this.lost();
    if (!this.sent && last.closed) {
      return this.farewell(this.conversation ? "The conversation has ended. You can close this tab."
        : "Marks were placed in another tab, or the command has ended. You can close this one.");
    }
    if (!this.ended) this.end();
    this.awaitAnswer();
    if (last.answer !== undefined) {
      this.turn.finish(last.answer);
      this.showNotes(last.notes ?? []);
      return this.closing("You can close this tab. The answer is in the terminal too.");
    }
    if (last.closed && this.task.end) return this.closing(this.task.end);
    this.turn.fail(last.error ?? "vipcli ended before there was an answer.");
    if (this.info.task !== "ask") this.outcome.replaceChildren(this.turn.element);
    return this.closing("You can close this tab.");
  }

  closing(text) {
    this.outcome.append(make("p", { className: "closing" }, text));
    this.say(text);
  }

  askToLeave() {
    if (this.busy) return;
    this.askedToLeave(true);
    const stay = make("button", { type: "button", className: "quiet", onclick: () => {
      this.askedToLeave(false);
      this.stage.element.focus();
    } }, "Stay");
    this.confirm.replaceChildren(make("span", {}, this.task.leave),
      make("button", { type: "button", className: "danger", onclick: () => this.leave() }, "Leave"), stay);
  }

  askedToLeave(asked) {
    this.confirm.hidden = !asked;
  }

  async leave() {
    this.end();
    this.left = true;
    this.storage?.removeItem("picker");
    await this.call("leave", {});
    this.farewell("Nothing was sent. You can close this tab.");
  }

  /** Say why the page can do nothing more. */
  farewell(text) {
    this.end();
    this.form.hidden = true;
    this.guide.textContent = "";
    if (!this.conversation) this.outcome.replaceChildren();
    this.closing(text);
  }

  /** Call Python; without an answer the page ends, and there is nothing. */
  async call(name, payload) {
    try {
      return await this.transport.call(name, payload);
    } catch {
      if (!this.root.classList.contains("ended") || name === "done") this.lost();
      return null;
    }
  }

  lost() {
    this.wait.hidden = true;
    this.farewell("The connection to vipcli is lost. If the command has ended, run it again.");
  }

  // ------------------------------------------------------------------ telling

  say(text) {
    this.status.textContent = text;
  }

  announce(mark) {
    this.say(`${capitalized(mark.kind)} {${this.numberOf(mark)}} ${placeOf(mark)}, ${this.names.get(mark.id)}.`);
  }

  /** The number of a mark once all that were asked for are drawn. */
  numberOf(mark) {
    return 1 + (mark.slot ?? this.marks.indexOf(mark) + this.emptySlots.length);
  }

  complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = false;
  }

  showNotes(notes) {
    this.notes.replaceChildren(...notes.map((text) => make("p", {}, text)));
    this.notes.hidden = notes.length === 0;
  }

  render() {
    if (!this.info || this.index < 0) return;
    const { ended } = this;
    for (const [kind, button] of this.tools) {
      button.setAttribute("aria-pressed", kind === this.kind);
      button.disabled = ended;
    }
    this.undoButton.disabled = ended || !this.history.canUndo;
    this.redoButton.disabled = ended || !this.history.canRedo;
    const selected = this.find(this.selected);
    this.deleteButton.disabled = ended || !selected || selected.locked;
    this.submitButton.disabled = this.leaveButton.disabled = this.field.disabled = ended;
    this.renderColor(selected);
    this.renderPages();
    this.renderGuide();
    this.renderList();
    this.renderQuestion();
    this.paint();
  }

  renderColor(selected) {
    const own = selected ? selected.color : this.color;
    const name = selected ? this.names.get(selected.id) : this.nextColor;
    this.swatch.style.setProperty("--color", this.rgbOf(selected?.color ?? name));
    this.swatch.classList.toggle("automatic", !own);
    const title = `Color: ${own ? name : `automatic (${name})`}`;
    this.colorButton.title = title;
    this.colorButton.setAttribute("aria-label", title);
    this.colorButton.disabled = this.ended || Boolean(selected?.locked);
    for (const choice of this.colors.children) choice.setAttribute("aria-pressed", choice.value === (own ?? ""));
  }

  renderPages() {
    const { pictures, video } = this.info;
    this.previous.disabled = this.index === 0;
    this.next.disabled = this.index === pictures.length - 1;
    this.slider.value = this.index + 1;
    this.position.textContent = `${video ? "Frame " : ""}${this.index + 1} of ${pictures.length}`;
    this.position.title = this.size.name;
  }

  renderGuide() {
    if (this.ended) return;
    const wanted = this.info.slots.some(({ text }) => text === null);
    const slot = this.active;
    this.guide.replaceChildren(...(slot !== null
      ? [icon(this.info.slots[slot].kind), `Draw {${slot + 1}}: ${this.describeSlot(this.info.slots[slot])}`]
      : wanted ? [`Everything is drawn. ${this.task.button} when you are ready.`]
      : this.history.marks.length ? [] : ["Choose a kind of mark, then draw on the picture."]));
    this.guide.hidden = !this.guide.childNodes.length;
  }

  renderList() {
    const names = this.names;
    const slots = this.info.slots.map((_, i) =>
      this.history.marks.find((mark) => mark.slot === i) ?? { empty: i });
    const wanted = this.ended ? slots.filter(({ empty }) => empty === undefined) : slots;
    const rows = [...wanted, ...this.marks.filter(({ slot }) => slot === null)].map((mark, i) =>
      (mark.empty === undefined ? this.markRow(mark, i + 1, names.get(mark.id)) : this.emptyRow(i)));
    const focused = this.list.getRootNode().activeElement?.dataset?.row;
    this.list.replaceChildren(...rows);
    if (focused) [...this.list.querySelectorAll("[data-row]")].find(({ dataset }) => dataset.row === focused)?.focus();
  }

  markRow(mark, number, name) {
    const swatch = make("span", { className: "swatch" });
    const fact = this.facts.get(mark.id);
    swatch.style.setProperty("--color", mark.color ? this.rgbOf(mark.color) : fact?.color ?? this.rgbOf(name));
    const where = this.info.pictures.length > 1
      ? `, ${mark.frame || !this.info.video ? `${this.unit} ${mark.frame ?? 1}` : "all frames"}` : "";
    const select = make("button", {
      type: "button", className: "row", "aria-pressed": String(this.selected === mark.id), disabled: this.ended,
      onclick: () => {
        this.select(mark.id);
        this.stage.element.focus({ preventScroll: true });
      },
    }, make("span", { className: "number" }, `{${number}}`), swatch, icon(mark.kind),
    make("span", { className: "words" }, `${capitalized(name)} ${mark.kind} `,
      make("small", {}, `${placeOf(mark)}${where}`)));
    select.dataset.row = mark.id;
    const error = this.markErrors.get(mark.id);
    return make("li", { className: error ? "mark wrong" : "mark" }, select,
      mark.locked ? make("span", { className: "locked", title: "Given on the command line" }, icon("lock"))
        : this.ended ? null : iconButton("close", `Delete ${mark.kind} {${number}}`, () => this.remove(mark.id)),
      error && make("p", { className: "problem" }, error));
  }

  emptyRow(slot) {
    const button = make("button", {
      type: "button", className: "row empty", "aria-pressed": String(this.active === slot), disabled: this.ended,
      onclick: () => {
        this.selected = null;
        this.choose(slot);
        this.render();
        this.stage.element.focus({ preventScroll: true });
      },
    }, make("span", { className: "number" }, `{${slot + 1}}`), make("span", { className: "swatch none" }), icon(this.info.slots[slot].kind),
    make("span", { className: "words" }, `${capitalized(this.info.slots[slot].kind)} `, make("small", {}, "not drawn yet")));
    button.dataset.row = `slot ${slot}`;
    return make("li", { className: "mark" }, button);
  }

  /** What would be asked without a question. */
  get placeholder() {
    const { video, pictures } = this.info;
    const phrases = this.marks.map(({ id }) => this.facts.get(id)?.phrase).filter(Boolean);
    if (!phrases.length) {
      return `What is shown in ${video ? "this video" : pictures.length > 1 ? "these pictures" : "this picture"}?`;
    }
    const parts = phrases.map((phrase) => `what is the object ${phrase}`);
    const text = parts.length > 1 ? `${parts.slice(0, -1).join(", ")}, and ${parts.at(-1)}` : parts[0];
    return `${capitalized(text)}?`;
  }

  renderQuestion() {
    if (this.field.hidden) return;
    this.field.placeholder = this.placeholder;
    const first = this.facts.get(this.marks[0]?.id);
    this.explanation.textContent = first && !this.emptySlots.length ? `In a question, {1} stands for “${first.phrase.replace(/^.*?(?=the )/, "")}”.` : "";
  }

  // ------------------------------------------------------------------ a page that is loaded again

  save() {
    if (!this.storage) return;
    const { pictures, slots } = this.info;
    this.storage.setItem("picker", JSON.stringify({
      task: { pictures, slots }, marks: this.history.marks, ids: this.#ids, question: this.field.value,
      page: this.page, sent: this.sent,
    }));
  }

  restore() {
    const { pictures, slots } = this.info;
    const saved = JSON.parse(this.storage?.getItem("picker") ?? "null");
    if (JSON.stringify(saved?.task) !== JSON.stringify({ pictures, slots })) return;
    this.history.marks = saved.marks;
    this.#ids = saved.ids;
    this.field.value = saved.question;
    this.page = saved.page;
    this.sent = saved.sent;
  }
}
