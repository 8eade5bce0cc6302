// Elements and icons.

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
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
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

/** A button with an icon; its title is its name. */
export const iconButton = (name, title, onclick, properties = {}) =>
  make("button", { type: "button", title, "aria-label": title, className: "tool", onclick, ...properties }, icon(name));

/** An image that is decoded and ready to be shown. */
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

/** The bytes of an image that came as base64. */
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/webp" });
}
