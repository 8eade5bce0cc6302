// The page on which a person marks pictures. It talks to vipcli through a transport:
// call(name, payload) gives an object or a Blob, stream(name, payload, onLine) calls onLine with objects.

import { Conversation, Turn } from "./conversation.js";
import {
  History, KINDS, asMessage, boundsOf, capitalized, clamp, colorNames, handlesOf, inOrder, isComplete, isFreehand,
  isRectangle, moved, normalized, outline, pixelAt, placeOf, resized, same, slotColor, squareCorner, tidyPath,
  typedMarks,
} from "./geometry.js";
import { Panel, hint, needs } from "./panel.js";
import { Stage, fromBase64, loadImage, make, makeSvg } from "./stage.js";

const CLICK = 4; // A press that moves by less, in pixels of the screen, is a click.
const STEP = 10; // Pixels of the screen for each arrow key.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TASKS = {
  ask: { button: "Ask", leave: "Leave without asking?" },
  draw: { button: "Save", leave: "Leave without saving?", end: "Saved. You can close this tab." },
  mark: { button: "Add", leave: "Leave without adding marks?", end: "Added. You can go on in the terminal." },
  chat: { button: "Ask", leave: "Leave the conversation?" },
  notebook: {},
};
const asImage = (reply) => (reply instanceof Blob ? loadImage(reply) : null);

/** Build the page inside `host`. Returns a function that takes it down again. */
export function mount(host, transport, options = {}) {
  const picker = new Picker(host, transport, options);
  picker.start();
  return () => picker.close();
}

class Picker {
  #ids = 0;
  #tickets = { preview: 0, region: 0, picture: 0, view: 0 }; // Only the last reply of each kind counts.
  #running = 0;
  #again = false;
  #frame = 0;
  #timer = 0;

  constructor(host, transport, { keys = host, storage = null, key = "" }) {
    const root = make("div", { className: "picker by-pointer" });
    this.root = root;
    this.transport = transport;
    this.storage = storage;
    this.key = key;
    // Several pages may be open; this names the one that sends marks.
    this.page = String(Math.random()).slice(2);
    this.stage = new Stage(this);
    this.panel = new Panel(this);
    root.append(...this.panel.elements);
    host.classList.add("picker-host");
    host.replaceChildren(root);
    this.listeners = [
      [keys, "keydown", (event) => this.keyDown(event)],
      [keys, "keyup", (event) => this.keyUp(event)],
      [root, "click", (event) => this.clicked(event)],
      [root, "pointerdown", (event) => {
        root.classList.add("by-pointer");
        if (!this.panel.palette.contains(event.target)) this.panel.openColors(false);
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

  async start() {
    // The picture is asked for at once, since it takes the longest.
    const first = this.call("picture", { picture: 0 });
    const info = await this.call("start", {});
    if (!info) return;
    this.begin(info, first);
    if (this.sent) {
      this.end();
      this.awaitAnswer();
    }
    this.listen();
  }

  begin(info, first = null) {
    this.info = info;
    this.task = TASKS[info.task];
    this.images = new Map(first ? [[0, first.then(asImage)]] : []);
    this.history = new History([...typedMarks(info.slots), ...info.marks]);
    this.kind = "box";
    this.color = this.selected = this.draft = this.lifted = this.crosshair = this.active = null;
    this.truth = new Map(); // The points of the marks that the overlay shows.
    this.facts = new Map();
    this.markErrors = new Map();
    this.index = -1;
    this.ended = false;
    this.restore();
    this.panel.setUp();
    if (info.conversation) this.converse();
    const slot = info.slots.find(({ text }) => text === null);
    this.show(clamp((slot?.picture ?? 1) - 1, 0, info.pictures.length - 1));
    this.nextSlot();
    if (this.key) this.focus();
  }

  converse() {
    this.conversation?.close();
    this.conversation = new Conversation(this, this.info.conversation);
    this.panel.outcome.replaceChildren(this.conversation.element);
    this.panel.leave.hidden = true;
    this.root.classList.add("chat");
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

  focus() {
    this.stage.element.focus({ preventScroll: true });
  }

  say(text) {
    this.panel.say(text);
  }

  render() {
    if (!this.info || this.index < 0) return;
    this.panel.render();
    this.paint();
  }

  async show(index) {
    if (!this.info.pictures[index] || index === this.index) return;
    this.abandon();
    const { stage, panel: { wait } } = this;
    const ticket = ++this.#tickets.picture;
    this.index = index;
    this.truth = new Map();
    this.crosshair = null;
    if (!this.isHere(this.find(this.selected))) this.selected = null;
    const { name, width, height, factor } = this.size;
    stage.open(this.size);
    wait.textContent = `Loading ${name}…`;
    wait.hidden = false;
    stage.element.setAttribute("aria-label", `${name}, ${width} × ${height} pixels. Arrow keys move a crosshair, `
      + "Space sets a point there, Enter finishes. Press ? for help.");
    this.preview();
    this.render();
    if (this.viewing) this.showView();
    const image = await this.image(index);
    if (ticket !== this.#tickets.picture) return;
    wait.hidden = Boolean(image);
    if (!image) {
      wait.textContent = `${name} cannot be shown.`;
      return;
    }
    image.alt = `${name} without marks`;
    stage.show("picture", image, 0, 0, factor);
    if (this.info.pictures[index + 1]) this.image(index + 1);
  }

  image(index) {
    if (!this.images.has(index)) {
      this.images.set(index, this.call("picture", { picture: index }).then(asImage));
    }
    return this.images.get(index).catch(() => null);
  }

  /** The number of the picture that is shown, as it is typed: null for all frames. */
  get frame() {
    return this.info.video && this.panel.everywhere.checked ? null : this.index + 1;
  }

  isHere(mark) {
    return (mark?.frame ?? (this.info.video ? this.index + 1 : 1)) === this.index + 1;
  }

  get emptySlots() {
    return this.info.slots.flatMap(({ text }, i) =>
      (text === null && !this.history.marks.some(({ slot }) => slot === i) ? i : []));
  }

  nextSlot() {
    const empty = this.emptySlots;
    this.choose(empty.find((slot) => slot > (this.active ?? -1)) ?? empty[0] ?? null);
  }

  choose(slot) {
    this.active = slot;
    if (slot !== null) {
      const { kind, picture } = this.info.slots[slot];
      this.kind = kind;
      this.selected = null;
      if (picture) this.show(picture - 1);
    }
    this.render();
  }

  /** The empty slot that a mark of this kind, drawn here and now, fills. */
  slotFor(kind) {
    const fits = (i) => {
      const slot = this.info.slots[i];
      return slot.kind === kind && (slot.picture ?? this.frame) === this.frame
        && (!slot.color || !this.color || slotColor(slot, this.info.colors) === this.color);
    };
    const empty = this.emptySlots;
    return [...empty.filter((slot) => slot === this.active), ...empty].find(fits) ?? null;
  }

  find(id) {
    return this.history.marks.find((mark) => mark.id === id);
  }

  add(points, select) {
    const { kind } = this;
    const slot = this.slotFor(kind);
    const wanted = this.info.slots[slot];
    const color = this.colorFor(slot);
    const frame = this.info.video || this.index ? this.frame : null;
    const mark = {
      id: `mark ${++this.#ids}`, slot, kind, points: normalized(kind, points), frame, color,
      colorName: color && color === wanted?.color ? wanted.colorName : color,
    };
    this.change([...this.history.marks, mark]);
    this.nextSlot();
    this.selected = select && this.isHere(mark) ? mark.id : null;
    this.announce(mark);
    this.render();
  }

  replace(mark, changes, step = null) {
    const changed = { ...mark, ...changes };
    this.change(this.history.marks.map((other) => (other === mark ? changed : other)), step);
    this.announce(changed);
  }

  remove(id) {
    const mark = this.find(id);
    if (!mark || (mark.text && !this.conversation) || this.busy) return;
    if (this.selected === id) this.selected = null;
    this.change(this.history.marks.filter((other) => other !== mark));
    if (mark.slot !== null) this.choose(mark.slot);
    this.say(`Deleted: ${mark.kind} ${placeOf(mark)}.`);
  }

  change(marks, step = null) {
    this.history.change(marks, step);
    this.changed();
  }

  undo() {
    if (this.abandon() || this.busy || !this.history.canUndo) return;
    this.history.undo();
    this.stepped("Undone.");
  }

  redo() {
    if (this.abandon() || this.busy || !this.history.canRedo) return;
    this.history.redo();
    this.stepped("Done again.");
  }

  stepped(text) {
    if (!this.find(this.selected)) this.selected = null;
    if (!this.emptySlots.includes(this.active)) {
      this.active = null;
      this.nextSlot();
    }
    this.changed();
    this.say(text);
  }

  changed() {
    this.edited();
    this.markErrors.clear();
    this.panel.confirm.hidden = true;
    this.hideDrawn();
    this.preview();
    this.render();
    if (this.viewing) this.showView();
  }

  edited() {
    this.warned = false;
    this.panel.complain("");
    this.save();
  }

  /** Have the marks drawn; the reply replaces the light outlines. */
  async preview() {
    if (this.#running > 1) {
      this.#again = true;
      return;
    }
    const ticket = ++this.#tickets.preview;
    const { lifted } = this;
    const marks = this.marks.filter(({ id }) => id !== lifted?.id);
    this.#running += 1;
    // Without a mark that is being moved, the others keep their colors.
    const sent = asMessage(marks, lifted ? this.names : undefined);
    const reply = await this.call("preview", { picture: this.index, marks: sent });
    const image = reply?.overlay && await loadImage(fromBase64(reply.overlay.image));
    this.#running -= 1;
    if (this.#again && !this.#running) {
      this.#again = false;
      this.preview();
    } else if (reply && ticket === this.#tickets.preview) {
      this.drawn(reply, image, marks, lifted);
    }
  }

  drawn({ error, mark, marks: facts, notes, overlay }, image, marks, lifted) {
    if (error) {
      if (marks[mark]) this.markErrors.set(marks[mark].id, error);
      else this.panel.complain(error);
      this.say(error);
      this.render();
      return;
    }
    this.truth = new Map(marks.filter((one) => this.isHere(one)).map(({ id, points }) => [id, points]));
    if (image) image.alt = "The marks";
    this.stage.show("overlay", image, overlay?.left, overlay?.top, overlay?.factor);
    this.paintNow();
    if (lifted) return;
    this.facts = new Map(marks.map(({ id }, i) => [id, facts[i]]));
    this.panel.showNotes(notes);
    this.render();
    this.viewChanged();
  }

  colorFor(slot) {
    return this.color ?? (slot === null ? null : slotColor(this.info.slots[slot], this.info.colors));
  }

  get names() {
    return this.namesOf(this.marks);
  }

  namesOf(marks) {
    return colorNames(marks, this.info.colors.map(({ name }) => name));
  }

  get nextColor() {
    const slot = this.slotFor(this.kind);
    return this.colorFor(slot)
      ?? this.namesOf(inOrder([...this.history.marks, { id: "next", slot, kind: this.kind }])).get("next");
  }

  rgbOf(name) {
    return this.info.colors.find((color) => color.name === name)?.rgb ?? name;
  }

  viewChanged() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.sharpen(), 150);
    this.showWhere();
  }

  /** Fetch the real pixels of what can be seen, if the picture is reduced and zoomed in. */
  async sharpen() {
    if (!this.info || this.index < 0 || this.size.factor === 1) return;
    const { stage, size } = this;
    const ticket = ++this.#tickets.region;
    const factor = Math.max(Math.floor(1 / (stage.zoom * devicePixelRatio)), 1);
    if (factor >= size.factor) {
      stage.show("region", null);
      stage.show("drawn", null);
      return;
    }
    const [left, top] = stage.visible.map((edge) => Math.floor(edge / factor) * factor);
    const right = Math.min(Math.ceil(stage.visible[2] / factor) * factor, size.width);
    const bottom = Math.min(Math.ceil(stage.visible[3] / factor) * factor, size.height);
    for (const [name, marks] of [["region", []], ["drawn", this.message]]) {
      if (name === "drawn" && (this.lifted || !marks.length)) return;
      const reply = await this.call("region", { picture: this.index, marks, left, top, right, bottom, factor });
      const image = await asImage(reply);
      if (!image || ticket !== this.#tickets.region) return;
      image.alt = "";
      stage.show(name, image, left, top, factor);
    }
  }

  hideDrawn() {
    this.#tickets.region += 1;
    this.stage.show("drawn", null);
  }

  toggleView() {
    if (!this.info?.model) return;
    this.abandon();
    this.viewing = !this.viewing;
    this.panel.view.setAttribute("aria-pressed", this.viewing);
    this.stage.modelView.hidden = !this.viewing;
    if (this.viewing) this.showView();
  }

  async showView() {
    const ticket = ++this.#tickets.view;
    const reply = await this.call("view", { picture: this.index, marks: this.message });
    if (ticket !== this.#tickets.view || !reply) return;
    if (reply.error) {
      this.panel.complain(reply.error);
      return;
    }
    const image = await loadImage(reply);
    image.alt = "The marked picture as the model sees it";
    const { model, viewSize: side } = this.info;
    this.stage.modelView.replaceChildren(image, make("p", {}, `${model}, ${side} × ${side} pixels`));
    this.say("This is what the model sees.");
  }

  paint() {
    this.#frame ||= requestAnimationFrame(() => this.paintNow());
  }

  paintNow() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (!this.info || this.index < 0) return;
    const { stage, draft, lifted } = this;
    const place = (point) => stage.toScreen(point);
    const shapes = [];
    const light = (kind, points, rgb) => {
      const d = outline(kind, points, this.size, place);
      shapes.push(makeSvg("path", { class: "halo", d }),
        makeSvg("path", { class: `light ${kind}`, d, color: rgb }));
    };
    const marks = this.marks.filter((mark) => this.isHere(mark) && mark.points).map((mark) =>
      (mark.id === lifted?.id ? { ...mark, points: lifted.points } : mark));
    // An overlay that shows a mark where it is no longer would show it twice.
    const outdated = marks.some(({ id, points }) => this.truth.has(id) && this.truth.get(id) !== points);
    stage.layers.overlay.hidden = outdated;
    const { names } = this;
    for (const { id, kind, points, color } of marks) {
      if (outdated || !this.truth.has(id)) light(kind, points, this.rgbOf(color ?? names.get(id)));
      const d = outline(kind, points, this.size, place);
      if (!this.ended) shapes.push(makeSvg("path", { class: "hit", d, "data-mark": id }));
    }
    const selected = !this.ended && marks.find(({ id }) => id === this.selected);
    if (selected) shapes.push(...this.handles(selected, place));
    if (draft) light(draft.kind, this.draftPoints, this.rgbOf(this.nextColor));
    for (const [cx, cy] of (draft?.vertices ?? []).map(place)) {
      shapes.push(makeSvg("circle", { class: "vertex", cx, cy, r: 3 }));
    }
    if (this.crosshair) shapes.push(...this.crosshairLines(place(this.crosshair)));
    stage.svg.replaceChildren(...shapes);
  }

  handles({ kind, points }, place) {
    const [x1, y1, x2, y2] = boundsOf(points);
    const [[x, y], [right, bottom]] = [place([x1, y1]), place([x2, y2])];
    const small = Math.max(right - x, bottom - y) < 60;
    const frame = { class: "frame", x: x - 4, y: y - 4, width: right - x + 8, height: bottom - y + 8 };
    const shown = handlesOf(kind, points).filter(([name]) => !small || !/^[nesw]$/.test(name));
    return [...(isFreehand(kind) ? [makeSvg("rect", frame)] : []), ...shown.flatMap(([name, ...at]) => {
      const [cx, cy] = place(at);
      return [
        makeSvg("circle", { class: `grip ${name}`, cx, cy, r: 10, "data-handle": name }),
        makeSvg("rect", { class: "handle", x: cx - 4.5, y: cy - 4.5, width: 9, height: 9, rx: 2 }),
      ];
    })];
  }

  crosshairLines([x, y]) {
    const { clientWidth, clientHeight } = this.stage.element;
    const d = `M0 ${y}H${x - 7}M${x + 7} ${y}H${clientWidth}M${x} 0V${y - 7}M${x} ${y + 7}V${clientHeight}`;
    return ["halo", "crosshair"].map((name) => makeSvg("path", { class: name, d }));
  }

  get draftPoints() {
    const { kind, vertices, points } = this.draft;
    if (!vertices) return points;
    return isRectangle(kind) ? [vertices[0], this.crosshair] : [...vertices, this.crosshair];
  }

  /** What a press on the picture begins: a gesture, which goes on with move and end. */
  press(position, event) {
    if (this.busy || this.viewing) return null;
    this.abandon();
    this.crosshair = null;
    this.paint();
    const { handle, mark: id } = event.altKey ? {} : event.target.dataset;
    const selected = this.find(this.selected);
    if (!selected || selected.text || (!handle && id !== this.selected)) return this.drawing(position, event, id);
    if (handle && handle !== "move") {
      return this.lifting(selected, (at, { shiftKey }) =>
        resized(selected.kind, selected.points, handle, pixelAt(at, this.size), this.size, shiftKey));
    }
    return this.lifting(selected, ([x, y]) =>
      moved(selected.points, Math.round(x - position[0]), Math.round(y - position[1]), this.size));
  }

  /** A gesture that changes a mark; `points` gives its points for a position. */
  lifting(mark, points) {
    return {
      move: (position, event) => {
        const changed = points(position, event);
        if (same(changed, this.lifted?.points ?? mark.points)) return;
        const first = !this.lifted;
        this.lifted = { id: mark.id, points: changed };
        if (first) {
          this.hideDrawn();
          this.preview();
        }
        this.paint();
      },
      end: () => {
        const { lifted } = this;
        this.lifted = null;
        if (lifted) this.replace(mark, { points: lifted.points });
      },
    };
  }

  /** A gesture that draws a mark; a click on the edge of another selects that one. */
  drawing(start, event, clicked) {
    const { kind, size } = this;
    const first = pixelAt(start, size);
    const path = [start];
    const draft = { kind, points: isRectangle(kind) || isFreehand(kind) ? [first, first] : [first] };
    let far = false;
    this.draft = draft;
    return {
      move: (position, { clientX, clientY, shiftKey }) => {
        const pixel = pixelAt(position, size);
        far ||= Math.hypot(clientX - event.clientX, clientY - event.clientY) >= CLICK;
        path.push([clamp(position[0], 0, size.width - 0.01), clamp(position[1], 0, size.height - 0.01)]);
        if (isRectangle(kind)) draft.points = [first, shiftKey ? squareCorner(first, pixel, size) : pixel];
        else if (kind === "point") draft.points = [pixel];
        else if (kind === "arrow") draft.points = far && !same(first, pixel) ? [first, pixel] : [first];
        else draft.points = path.map(([x, y]) => [x - 0.5, y - 0.5]);
        if (far && this.selected) {
          this.selected = null;
          this.render();
        }
        this.paint();
      },
      end: () => {
        this.draft = null;
        const points = isFreehand(kind) ? tidyPath(kind, path, this.stage.zoom, size) : draft.points;
        if (!far && clicked) this.select(clicked);
        else if (isComplete(kind, points)) this.add(points, true);
        else {
          this.select(null);
          this.say(hint(kind));
        }
      },
    };
  }

  hover(position) {
    this.pixel = position;
    this.showWhere();
  }

  showWhere() {
    if (!this.info || this.index < 0) return;
    const [x, y] = this.pixel ?? [-1, -1];
    const inside = x >= 0 && y >= 0 && x < this.size.width && y < this.size.height;
    const at = this.crosshair ?? (inside ? [Math.floor(x), Math.floor(y)] : null);
    this.panel.where.textContent = `${at ? `${at.join(", ")} · ` : ""}${Math.round(this.stage.zoom * 100)} %`;
  }

  /** Give up what is being drawn or moved; returns whether there was any. */
  abandon() {
    const { draft, lifted } = this;
    this.stage.gesture = this.draft = this.lifted = null;
    if (lifted) this.preview();
    if (draft || lifted) this.paint();
    return Boolean(draft || lifted);
  }

  select(id) {
    const mark = this.find(id);
    this.selected = mark ? id : null;
    if (mark && !this.isHere(mark)) this.show((mark.frame ?? 1) - 1);
    if (mark) {
      this.say(`Selected: ${mark.kind} ${placeOf(mark)}. ${mark.text ? "It stays as it was given."
        : "Arrow keys move it, Alt and arrow keys resize it, Delete deletes it."}`);
    }
    this.render();
  }

  chooseKind(kind) {
    if (this.busy) return;
    this.abandon();
    this.kind = kind;
    this.selected = null;
    this.say(`${capitalized(kind)}. ${hint(kind)}`);
    this.render();
  }

  chooseColor(name) {
    const mark = this.find(this.selected);
    if (mark) this.replace(mark, { color: name, colorName: name });
    else this.color = name;
    this.panel.openColors(false);
    this.panel.color.focus();
    this.render();
  }

  /** After a click on a tool, keys are for the picture again. */
  clicked({ target, detail }) {
    if (detail && target.closest(".tool, .choice") && this.panel.colors.hidden && !this.panel.help.open) this.focus();
  }

  keyDown(event) {
    this.root.classList.remove("by-pointer");
    if (event.defaultPrevented || this.panel.help.open || this.busy) return;
    const target = event.composedPath()[0];
    const inField = target === this.panel.field;
    let act;
    if (event.key === "Escape") act = () => this.escape(inField);
    else if (inField) act = event.key === "Enter" && !event.shiftKey && !event.isComposing && (() => this.submit());
    else if (event.ctrlKey || event.metaKey) act = this.shortcut(event);
    else act = this.keyAction(event, target);
    if (!act) return;
    event.preventDefault();
    act();
  }

  keyUp(event) {
    if (event.key !== " " || !this.stage.panning) return;
    this.stage.panning = false;
    this.stage.element.classList.remove("ready-to-pan");
    if (!this.stage.panned && !this.busy) this.setVertex();
  }

  shortcut({ key, shiftKey }) {
    if (/^y$/i.test(key) || (/^z$/i.test(key) && shiftKey)) return () => this.redo();
    return key === "z" && (() => this.undo());
  }

  keyAction(event, target) {
    const { key } = event;
    const { stage } = this;
    const simple = {
      "+": () => stage.zoomBy(1.5),
      "=": () => stage.zoomBy(1.5),
      "-": () => stage.zoomBy(1 / 1.5),
      0: () => stage.fit(),
      "?": () => this.panel.help.showModal(),
      Delete: () => this.remove(this.selected),
      Backspace: () => this.remove(this.selected),
      PageUp: () => this.show(this.index - 1),
      PageDown: () => this.show(this.index + 1),
    }[key];
    if (simple) return simple;
    if (KINDS[key - 1]) return () => this.chooseKind(KINDS[key - 1]);
    // A letter begins the question, or goes on with it.
    if (/^\p{L}$/u.test(key) && !event.altKey && !this.panel.field.hidden) this.panel.field.focus();
    // Buttons, sliders and boxes have keys of their own.
    if (target.matches?.("button, summary") || (target.matches?.("input") && key !== "Enter")) return null;
    if (ARROWS[key]) return () => this.arrowKey(ARROWS[key], event);
    if (key === "Enter") return () => (this.draft?.vertices ? this.finish() : this.submit());
    return key === " " && (() => this.holdSpace());
  }

  holdSpace() {
    if (this.stage.panning) return;
    this.stage.panning = true;
    this.stage.panned = false;
    this.stage.element.classList.add("ready-to-pan");
  }

  arrowKey([x, y], { shiftKey, altKey }) {
    if (this.viewing) return;
    const step = shiftKey ? 1 : Math.max(Math.round(STEP / this.stage.zoom), 1);
    const mark = this.find(this.selected);
    if (mark && !mark.text) this.nudge(mark, x * step, y * step, altKey);
    else this.moveCrosshair(x * step, y * step);
  }

  nudge(mark, dx, dy, resize) {
    const { kind, points } = mark;
    const last = kind === "arrow" || kind === "point" ? points.at(-1) : boundsOf(points).slice(2);
    const handle = kind === "arrow" ? String(points.length - 1) : "se";
    const changed = resize
      ? resized(kind, points, handle, pixelAt([last[0] + dx, last[1] + dy], this.size), this.size)
      : moved(points, dx, dy, this.size);
    if (!same(changed, points)) this.replace(mark, { points: changed }, `${mark.id} ${resize}`);
    this.stage.reveal(changed.at(-1));
  }

  moveCrosshair(dx, dy) {
    const [left, top, right, bottom] = this.stage.visible;
    this.crosshair = this.crosshair
      ? pixelAt([this.crosshair[0] + dx, this.crosshair[1] + dy], this.size)
      : pixelAt([(left + right) / 2, (top + bottom) / 2], this.size);
    this.stage.reveal(this.crosshair);
    this.say(this.crosshair.join(", "));
    this.showWhere();
    this.paint();
  }

  setVertex() {
    if (this.viewing) return;
    if (!this.crosshair) {
      this.moveCrosshair(0, 0);
      return;
    }
    this.selected = null;
    this.draft ??= { kind: this.kind, vertices: [] };
    const { kind, vertices } = this.draft;
    vertices.push(this.crosshair);
    if (!isFreehand(kind) && vertices.length === (kind === "point" ? 1 : 2)) {
      this.finish();
      return;
    }
    this.say(isFreehand(kind) ? `Point ${vertices.length} is set. Enter finishes.`
      : kind === "arrow" ? "The tail is set. Go to the tip and press Space, or make this the tip with Enter."
      : "A corner is set. Go to the opposite one and press Space.");
    this.render();
  }

  finish() {
    const { kind, vertices } = this.draft;
    const ends = [vertices[0], this.crosshair];
    const points = isFreehand(kind) ? vertices : kind === "point" || (kind === "arrow" && same(...ends)) ? [ends[0]] : ends;
    if (isComplete(kind, points)) {
      this.draft = null;
      this.add(points, false);
    } else {
      if (isRectangle(kind)) vertices.length = 1;
      this.say(isFreehand(kind) ? needs(kind) : "Move the crosshair to the opposite corner.");
    }
  }

  escape(inField) {
    if (!this.panel.colors.hidden) {
      this.panel.openColors(false);
      this.panel.color.focus();
    } else if (inField) this.focus();
    else if (this.abandon()) this.say("Abandoned.");
    else if (this.selected) this.select(null);
    else if (this.crosshair) {
      this.crosshair = null;
      this.paint();
    } else if (this.panel.confirm.hidden) this.task.leave && this.panel.confirmLeaving();
    else this.leave();
  }

  async submit() {
    if (!this.task.button || this.busy || this.conversation?.running) return;
    if (this.draft?.vertices) this.finish();
    const { field } = this.panel;
    const empty = this.emptySlots;
    if (empty.length && !this.warned) {
      this.warned = true;
      const kinds = empty.map((slot) => `the ${this.info.slots[slot].kind}`).join(" and ");
      const [are, them] = empty.length === 1 ? ["is", "it"] : ["are", "them"];
      const shifted = this.marks.some((mark) => this.numberOf(mark) > empty[0] + 1);
      this.panel.complain(`${capitalized(kinds)} ${are} not drawn yet. Press Enter again to go on without ${them}.${
        shifted ? ` The marks after ${them} move up.` : ""}`);
      return;
    }
    const marks = this.message;
    const question = field.hidden ? null : field.value.trim() || null;
    if (this.conversation) {
      field.value = "";
      this.save();
      this.conversation.ask({ marks, question });
      return;
    }
    this.end();
    const reply = await this.call("done", { marks, question, page: this.page });
    if (!reply) return;
    if (reply.error) {
      this.ended = false;
      this.root.classList.remove("ended");
      this.render();
      this.panel.complain(reply.error);
      return;
    }
    this.sent = { question: question ?? this.info.question ?? this.panel.placeholder };
    this.save();
    this.awaitAnswer();
  }

  end() {
    this.abandon();
    this.ended = true;
    this.selected = null;
    this.root.classList.add("ended");
    this.panel.confirm.hidden = true;
    this.render();
  }

  awaitAnswer() {
    if (!this.ended) this.end();
    this.panel.form.hidden = true;
    this.turn ??= new Turn(this.sent?.question ?? this.panel.placeholder);
    if (this.info.task === "ask") this.panel.outcome.replaceChildren(this.turn.element);
  }

  async listen() {
    let last = null;
    try {
      await this.transport.stream("events", { page: this.page }, (line) => {
        if (line.text) {
          this.awaitAnswer();
          this.turn.add(line.text);
        } else if (Object.keys(line).length) last = line;
      });
    } catch {
      last = null;
    }
    if (!this.left) this.conclude(last);
  }

  conclude(last) {
    if (!last) this.lost();
    else if (last.closed && this.conversation) this.farewell("The conversation has ended. You can close this tab.");
    else if (last.closed && !this.sent) {
      this.farewell("Marks were placed in another tab, or the command has ended. You can close this one.");
    } else {
      this.awaitAnswer();
      this.answered(last);
    }
  }

  answered({ answer, notes, error, closed }) {
    if (answer !== undefined) {
      this.turn.finish(answer);
      this.panel.showNotes(notes ?? []);
      this.closing("You can close this tab. The answer is in the terminal too.");
    } else if (closed && this.task.end) {
      this.closing(this.task.end);
    } else {
      this.turn.fail(error ?? "vipcli ended before there was an answer.");
      this.panel.outcome.replaceChildren(this.turn.element);
      this.closing("You can close this tab.");
    }
  }

  closing(text) {
    this.panel.outcome.append(make("p", { className: "closing" }, text));
    this.say(text);
  }

  async leave() {
    this.end();
    this.left = true;
    this.storage?.removeItem(this.key);
    await this.call("leave", {});
    this.farewell("Nothing was sent. You can close this tab.");
  }

  farewell(text) {
    this.end();
    this.panel.form.hidden = true;
    if (!this.conversation) this.panel.outcome.replaceChildren();
    this.closing(text);
  }

  /** Call Python; without an answer the page ends, and there is nothing. */
  async call(name, payload) {
    try {
      return await this.transport.call(name, payload);
    } catch {
      if (!this.ended || name === "done") this.lost();
      return null;
    }
  }

  lost() {
    this.panel.wait.hidden = true;
    this.farewell("The connection to vipcli is lost. If the command has ended, run it again.");
  }

  /** The number of a mark once all that were asked for are drawn. */
  numberOf(mark) {
    const { slot } = this.conversation ? {} : mark;
    return 1 + (slot ?? this.marks.indexOf(mark) + this.emptySlots.length);
  }

  announce(mark) {
    this.say(`${capitalized(mark.kind)} {${this.numberOf(mark)}} ${placeOf(mark)}, ${this.names.get(mark.id)}.`);
  }

  save() {
    const { info: { pictures, slots }, history: { marks }, page, sent } = this;
    const saved = { task: { pictures, slots }, marks, ids: this.#ids, question: this.panel.field.value, page, sent };
    this.storage?.setItem(this.key, JSON.stringify(saved));
  }

  restore() {
    const { pictures, slots } = this.info;
    const saved = JSON.parse(this.storage?.getItem(this.key) ?? "null");
    if (JSON.stringify(saved?.task) !== JSON.stringify({ pictures, slots })) return;
    this.history.marks = saved.marks;
    this.#ids = saved.ids;
    this.panel.field.value = saved.question;
    this.page = saved.page;
    this.sent = saved.sent;
  }
}
