// The page on its own: the messages go over HTTP.

import { mount } from "./picker.js";

const isJson = (response) => response.headers.get("Content-Type")?.startsWith("application/json");

async function post(address, body, headers = { "Content-Type": "application/json" }) {
  const response = await fetch(address, { method: "POST", headers, body });
  // What is wrong with a request is told in the reply.
  if (response.ok || /400|413|500/.test(response.status)) return response;
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

let storage = null;
try {
  storage = sessionStorage;
} catch {
  // A browser may be told to keep nothing.
}

mount(document.querySelector("main"), transport, { keys: document, storage, key: location.pathname });
