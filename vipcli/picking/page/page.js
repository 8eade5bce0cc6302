// The page on its own: the messages go over HTTP.

import { mount } from "./picker.js";

const JSON_TYPE = "application/json";

async function post(name, body, type = JSON_TYPE) {
  const response = await fetch(`api/${name}`, { method: "POST", headers: { "Content-Type": type }, body });
  // The reply tells what is wrong.
  if (response.ok || /400|413|500/.test(response.status)) return response;
  throw new Error(`The answer is ${response.status}.`);
}

const transport = {
  async call(name, payload) {
    const response = await post(name, JSON.stringify(payload));
    const isJson = response.headers.get("Content-Type")?.startsWith(JSON_TYPE);
    return isJson ? response.json() : response.blob();
  },

  async stream(name, payload, onLine) {
    const response = await post(name, JSON.stringify(payload));
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
    const response = await post(`${name}?name=${encodeURIComponent(file.name)}`, file, "application/octet-stream");
    return response.json();
  },
};

let storage = null;
try {
  storage = sessionStorage;
} catch {
  // A browser may be told to keep nothing.
}

mount(document.querySelector("main"), transport, { keys: document, storage, key: location.pathname });
