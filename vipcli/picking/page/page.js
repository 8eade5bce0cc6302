// The page on its own: the messages go over HTTP.

import { mount } from "./picker.js";

const isJson = (response) => response.headers.get("Content-Type")?.startsWith("application/json");

async function post(address, body, headers = { "Content-Type": "application/json" }) {
  const response = await fetch(address, { method: "POST", headers, body });
  // A request that cannot be answered as it is comes back with the reason.
  if (response.ok || (response.status === 400 && isJson(response))) return response;
  throw new Error(`The answer is ${response.status}.`);
}

const transport = {
  async call(name, payload) {
    const response = await post(`api/${name}`, JSON.stringify(payload));
    return isJson(response) ? response.json() : response.blob();
  },

  async stream(name, payload, onLine) {
    const response = await post(`api/${name}`, JSON.stringify(payload));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      const lines = (rest + (value ?? "")).split("\n");
      rest = done ? "" : lines.pop();
      for (const line of lines) if (line.trim()) onLine(JSON.parse(line));
      if (done) return;
    }
  },

  async upload(name, file) {
    const response = await post(`api/${name}?name=${encodeURIComponent(file.name)}`, file,
      { "Content-Type": "application/octet-stream" });
    return response.json();
  },
};

// Each page of a server has an address of its own, and each tab a storage of its own, if it may have one.
const place = location.pathname;
const attempt = (act) => {
  try {
    return act(sessionStorage);
  } catch {
    return null;
  }
};
const storage = {
  getItem: (name) => attempt((all) => all.getItem(place + name)),
  setItem: (name, value) => attempt((all) => all.setItem(place + name, value)),
  removeItem: (name) => attempt((all) => all.removeItem(place + name)),
};

mount(document.querySelector("main"), transport, { keys: document, storage });
