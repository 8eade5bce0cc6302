// Elements, icons, and the picture with its zoom and pointers.

import { clamp } from "./geometry.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties, attributes, listeners (names with "on") and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(Boolean));
  return element;
}

export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const ICONS = {
  box: "M3.5 5h13v10h-13z",
  ellipse: "M2.5 10a7.5 5.5 0 1 1 15 0a7.5 5.5 0 1 1-15 0z",
  triangle: "M10 4l7.5 12.5h-15z",
  point: "M6.5 10a3.5 3.5 0 1 1 7 0a3.5 3.5 0 1 1-7 0z",
  arrow: "M4 16L15.5 4.5M8.5 4h7.5v7.5",
  scribble: "M3 13c3-9 6-9 6-3s3 6 4 1s3-4 4-3",
  contour: "M7 3.5c4-2 7 1 7 3.5s4 3 2.5 6s-5 4.5-8.5 3.5s-5-4-4.5-7s.5-4.5 3.5-6z",
  mask: "M7 3.5c4-2 7 1 7 3.5s4 3 2.5 6s-5 4.5-8.5 3.5s-5-4-4.5-7s.5-4.5 3.5-6z",
  undo: "M7 4L3.5 7.5L7 11M4 7.5h7.5a4.5 4.5 0 0 1 0 9H8",
  redo: "M13 4l3.5 3.5L13 11M16 7.5H8.5a4.5 4.5 0 0 0 0 9H12",
  delete: "M4 5.5h12M8 5.5V3.5h4v2M5.5 5.5l.7 11h7.6l.7-11M8.5 8.5v5M11.5 8.5v5",
  out: "M4.5 10h11",
  in: "M4.5 10h11M10 4.5v11",
  fit: "M3.5 7.5v-4h4M12.5 3.5h4v4M16.5 12.5v4h-4M7.5 16.5h-4v-4",
  eye: "M2 10c4-6.5 12-6.5 16 0c-4 6.5-12 6.5-16 0zM7.8 10a2.2 2.2 0 1 1 4.4 0a2.2 2.2 0 1 1-4.4 0z",
  help: "M7.5 7.5a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.7v.5M10 14.9v.2",
  lock: "M5.5 9h9v7.5h-9zM7.2 9V6.5a2.8 2.8 0 0 1 5.6 0V9",
  previous: "M12.5 4.5L7 10l5.5 5.5",
  next: "M7.5 4.5L13 10l-5.5 5.5",
  close: "M5.5 5.5l9 9M14.5 5.5l-9 9",
  picture: "M3 4.5h14v11H3zM3 13l4-4l3.5 3.5l2-2L17 14M12.5 7.5h.1",
};

export const icon = (name) =>
  makeSvg("svg", { viewBox: "0 0 20 20", class: `icon icon-${name}`, "aria-hidden": "true" },
    makeSvg("path", { d: ICONS[name] }));

export const iconButton = (name, title, onclick, properties = {}) =>
  make("button", { type: "button", title, className: "tool", onclick, ...properties }, icon(name));

export async function loadImage(blob) {
  const image = new Image();
  const address = URL.createObjectURL(blob);
  image.src = address;
  image.draggable = false;
  try {
    await image.decode();
  } finally {
    URL.revokeObjectURL(address);
  }
  return image;
}

export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/webp" });
}

const MOST_ZOOM = 32;
const MARGIN = 12;

export class Stage {
  /** `host` has press(position, event), which gives a gesture, abandon(), hover(position), paint(), viewChanged(). */
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

  reveal([x, y]) {
    const [left, top] = this.toScreen([x, y]);
    const edge = 24;
    const { clientWidth, clientHeight } = this.element;
    const dx = clamp(left, edge, clientWidth - edge) - left;
    const dy = clamp(top, edge, clientHeight - edge) - top;
    if (dx || dy) this.panBy(dx, dy);
  }

  toScreen([x, y]) {
    return [(x + 0.5) * this.zoom + this.x, (y + 0.5) * this.zoom + this.y];
  }

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
    const positions = () => [...pointers.values()];
    const on = (name, listener) => this.element.addEventListener(name, listener);
    const begin = (event) => {
      if (pointers.size === 2) {
        this.host.abandon();
        return this.#pinch(positions);
      }
      if (pointers.size > 2) return this.gesture;
      if (event.button || this.panning) return this.#pan(positions);
      return this.host.press(this.toPicture(event), event);
    };
    on("pointerdown", (event) => {
      if (pointers.size && event.pointerType !== "touch") return;
      this.element.focus({ preventScroll: true });
      pointers.set(event.pointerId, this.#inStage(event));
      this.element.setPointerCapture(event.pointerId);
      this.gesture = begin(event);
    });
    on("pointermove", (event) => {
      this.host.hover(this.toPicture(event));
      if (!pointers.has(event.pointerId)) return;
      pointers.set(event.pointerId, this.#inStage(event));
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length ? steps : [event]) this.gesture?.move(this.toPicture(step), event);
    });
    const end = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      this.element.classList.remove("panning");
      if (event.type === "pointerup") this.gesture?.end?.();
      else this.host.abandon();
      this.gesture = null;
    };
    on("pointerup", end);
    on("pointercancel", end);
    on("pointerleave", () => this.host.hover(null));
    on("contextmenu", (event) => event.preventDefault());
    // A middle click would start to scroll by itself.
    on("mousedown", (event) => event.button === 1 && event.preventDefault());
    on("wheel", (event) => {
      event.preventDefault();
      const step = event.deltaY * (event.deltaMode ? 16 : 1) * (event.ctrlKey ? 0.01 : 0.002);
      this.zoomBy(Math.exp(-clamp(step, -0.7, 0.7)), this.#inStage(event));
    });
  }

  #pan(positions) {
    let [[x, y]] = positions();
    this.element.classList.add("panning");
    return {
      move: () => {
        const [[newX, newY]] = positions();
        this.panned = true;
        this.panBy(newX - x, newY - y);
        [x, y] = [newX, newY];
      },
    };
  }

  #pinch(positions) {
    const measure = () => {
      const [[x1, y1], [x2, y2]] = positions();
      return [(x1 + x2) / 2, (y1 + y2) / 2, Math.hypot(x1 - x2, y1 - y2) || 1];
    };
    let [x, y, spread] = measure();
    return {
      move: () => {
        const [newX, newY, newSpread] = measure();
        this.x += newX - x;
        this.y += newY - y;
        this.zoomBy(newSpread / spread, [newX, newY]);
        [x, y, spread] = [newX, newY, newSpread];
      },
    };
  }
}
