// The picture: its layers, zoom and pan, and what the pointer does on it.

import { make, makeSvg } from "./elements.js";
import { clamp } from "./geometry.js";

const MOST_ZOOM = 32;
const MARGIN = 12;

export class Stage {
  /** `host` has press(position, event), hover(position), paint(), viewChanged(). */
  constructor(host) {
    this.host = host;
    this.size = { width: 1, height: 1 };
    this.zoom = 1;
    this.x = this.y = 0;
    this.fitted = true;
    this.panning = false;
    this.layers = Object.fromEntries(
      ["picture", "region", "overlay", "drawn"].map((name) => [name, make("div", { className: `layer ${name}` })]));
    this.sheet = make("div", { className: "sheet" }, ...Object.values(this.layers));
    this.svg = makeSvg("svg", { class: "shapes", "aria-hidden": "true" });
    this.modelView = make("div", { className: "model-view", hidden: true });
    this.element = make(
      "div",
      { className: "stage", tabIndex: 0, role: "application" },
      this.sheet, this.svg, this.modelView,
    );
    this.#listen();
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(this.element);
  }

  get fitZoom() {
    const room = (side) => Math.max(side - 2 * MARGIN, 16);
    const { clientWidth, clientHeight } = this.element;
    const { width, height } = this.size;
    return Math.min(room(clientWidth) / width, room(clientHeight) / height, MOST_ZOOM);
  }

  open(size) {
    this.size = size;
    this.sheet.style.width = `${size.width}px`;
    this.sheet.style.height = `${size.height}px`;
    for (const name of Object.keys(this.layers)) this.show(name, null);
    this.fit();
  }

  /** Show an image on a layer, with its upper left corner at a pixel and its pixels as large as `factor`. */
  show(name, image, left = 0, top = 0, factor = 1) {
    this.layers[name].replaceChildren(...(image ? [image] : []));
    if (!image) return;
    image.style.left = `${left}px`;
    image.style.top = `${top}px`;
    image.style.width = `${image.naturalWidth * factor}px`;
    image.style.height = `${image.naturalHeight * factor}px`;
  }

  fit() {
    this.zoom = this.fitZoom;
    this.fitted = true;
    this.#place();
  }

  /** Zoom about a position in the stage; the middle if there is none. */
  zoomBy(ratio, at = [this.element.clientWidth / 2, this.element.clientHeight / 2]) {
    const fit = this.fitZoom;
    const zoom = clamp(this.zoom * ratio, fit, Math.max(MOST_ZOOM, fit));
    this.x = at[0] - ((at[0] - this.x) * zoom) / this.zoom;
    this.y = at[1] - ((at[1] - this.y) * zoom) / this.zoom;
    this.zoom = zoom;
    this.fitted = zoom <= fit * 1.0001;
    this.#place();
  }

  panBy(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#place();
  }

  /** Pan until a pixel is well inside the stage. */
  reveal([x, y]) {
    const [left, top] = this.toScreen([x, y]);
    const edge = 24;
    const { clientWidth, clientHeight } = this.element;
    const dx = clamp(left, edge, clientWidth - edge) - left;
    const dy = clamp(top, edge, clientHeight - edge) - top;
    if (dx || dy) this.panBy(dx, dy);
  }

  /** The middle of a pixel, in the stage. */
  toScreen([x, y]) {
    return [(x + 0.5) * this.zoom + this.x, (y + 0.5) * this.zoom + this.y];
  }

  /** The position on the picture under a pointer. */
  toPicture({ clientX, clientY }) {
    const [left, top] = this.#inStage({ clientX, clientY });
    return [(left - this.x) / this.zoom, (top - this.y) / this.zoom];
  }

  /** The part of the picture that can be seen: left, top, right, bottom. */
  get visible() {
    const { width, height } = this.size;
    const { clientWidth, clientHeight } = this.element;
    return [
      clamp(Math.floor(-this.x / this.zoom), 0, width),
      clamp(Math.floor(-this.y / this.zoom), 0, height),
      clamp(Math.ceil((clientWidth - this.x) / this.zoom), 0, width),
      clamp(Math.ceil((clientHeight - this.y) / this.zoom), 0, height),
    ];
  }

  close() {
    this.observer.disconnect();
  }

  #inStage({ clientX, clientY }) {
    const { left, top } = this.element.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  #place() {
    const held = (offset, length, room) =>
      length <= room - 2 * MARGIN ? (room - length) / 2 : clamp(offset, room - length - MARGIN, MARGIN);
    const { clientWidth, clientHeight } = this.element;
    this.x = held(this.x, this.size.width * this.zoom, clientWidth);
    this.y = held(this.y, this.size.height * this.zoom, clientHeight);
    this.sheet.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    this.sheet.classList.toggle("pixelated", this.zoom > 2);
    this.host.paint();
    this.host.viewChanged();
  }

  #resized() {
    if (this.fitted) this.fit();
    else this.zoomBy(1);
  }

  #listen() {
    const pointers = new Map();
    let gesture = null;
    const positions = () => [...pointers.values()];
    const begin = (event) => {
      if (pointers.size === 2) {
        gesture?.cancel();
        return this.#pinch(positions);
      }
      if (pointers.size > 2) return gesture;
      if (event.button === 1 || event.button === 2 || this.panning) return this.#pan(positions);
      return event.button === 0 ? this.host.press(this.toPicture(event), event) : null;
    };
    const end = (event, done) => {
      if (!pointers.delete(event.pointerId)) return;
      if (done) gesture?.end(this.toPicture(event), event);
      else gesture?.cancel();
      gesture = null;
    };
    const on = (name, listener) => this.element.addEventListener(name, listener);
    on("pointerdown", (event) => {
      if (pointers.size && event.pointerType !== "touch") return;
      this.element.focus({ preventScroll: true });
      pointers.set(event.pointerId, this.#inStage(event));
      this.element.setPointerCapture(event.pointerId);
      gesture = begin(event);
    });
    on("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) return this.host.hover(this.toPicture(event));
      pointers.set(event.pointerId, this.#inStage(event));
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length ? steps : [event]) gesture?.move(this.toPicture(step), event);
      return undefined;
    });
    on("pointerup", (event) => end(event, true));
    on("pointercancel", (event) => end(event, false));
    on("pointerleave", () => this.host.hover(null));
    on("contextmenu", (event) => event.preventDefault());
    // A middle click would start to scroll by itself.
    on("mousedown", (event) => event.button === 1 && event.preventDefault());
    on("wheel", (event) => {
      event.preventDefault();
      const step = event.deltaY * (event.deltaMode === 1 ? 16 : 1) * (event.ctrlKey ? 0.01 : 0.002);
      this.zoomBy(Math.exp(-clamp(step, -0.7, 0.7)), this.#inStage(event));
    });
  }

  #pan(positions) {
    let [[x, y]] = positions();
    this.element.classList.add("panning");
    const stop = () => this.element.classList.remove("panning");
    return {
      move: () => {
        const [[newX, newY]] = positions();
        this.panned = true;
        this.panBy(newX - x, newY - y);
        [x, y] = [newX, newY];
      },
      end: stop,
      cancel: stop,
    };
  }

  #pinch(positions) {
    const measure = () => {
      const [[x1, y1], [x2, y2]] = positions();
      return [(x1 + x2) / 2, (y1 + y2) / 2, Math.max(Math.hypot(x1 - x2, y1 - y2), 1)];
    };
    let [x, y, spread] = measure();
    return {
      move: () => {
        if (positions().length !== 2) return;
        const [newX, newY, newSpread] = measure();
        this.x += newX - x;
        this.y += newY - y;
        this.zoomBy(newSpread / spread, [newX, newY]);
        [x, y, spread] = [newX, newY, newSpread];
      },
      end: () => {},
      cancel: () => {},
    };
  }
}
