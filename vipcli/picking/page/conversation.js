// Questions and answers. A model's text is only ever shown as text.

import { iconButton, make } from "./stage.js";

const ENDS = { length: "The answer was cut off: it reached the most tokens allowed.", halted: "Stopped." };

export class Turn {
  constructor(question) {
    this.text = make("p", { className: "answer", "aria-live": "polite", "aria-busy": "true" });
    this.asked = make("p", { className: "asked" }, question);
    this.element = make("article", { className: "turn busy" }, this.asked, this.text);
  }

  add(piece) {
    this.text.append(piece);
  }

  note(text) {
    this.element.append(make("p", { className: "note" }, text));
  }

  finish(answer, ended = "stop") {
    if (answer !== undefined) this.text.textContent = answer;
    if (ENDS[ended]) this.note(ENDS[ended]);
    this.#end();
  }

  fail(text) {
    this.element.append(make("p", { className: "problem", role: "alert" }, text));
    this.#end();
  }

  #end() {
    this.text.setAttribute("aria-busy", "false");
    this.element.classList.remove("busy");
  }
}

export class Conversation {
  constructor(picker, { turns = [], model = null }) {
    this.picker = picker;
    this.turns = make("div", { className: "turns", role: "log", "aria-label": "Conversation", tabIndex: 0 });
    for (const { question, answer, ended } of turns) this.#append(new Turn(question)).finish(answer, ended);
    const button = (text, onclick) => make("button", { type: "button", className: "quiet", onclick }, text);
    this.stop = button("Stop", () => picker.call("stop", {}));
    this.retry = button("Retry", () => this.#stream("retry", {}));
    this.file = make("input", { type: "file", accept: "image/*,video/*", hidden: true,
      onchange: () => this.open(this.file.files[0]) });
    this.element = make("section", { className: "conversation" },
      make("header", {}, make("span", { className: "model" }, model ?? ""),
        iconButton("picture", "Open another picture", () => this.file.click()), this.file),
      this.turns,
      make("div", { className: "actions" }, this.stop, this.retry,
        button("Copy command", () => this.#copy()),
        button("Save", () => this.#download("save", "conversation.json")),
        button("Export", () => this.#download("export", "conversation.html"))));
    this.#running(false);
    this.#listen();
  }

  close() {
    for (const [name, listener] of this.listeners) this.picker.root.removeEventListener(name, listener);
  }

  async ask(payload) {
    this.asked = payload.question;
    await this.#stream("ask", payload);
  }

  async open(file) {
    if (!file || this.running) return;
    try {
      const info = await this.picker.transport.upload("open", file);
      if (info.error) this.picker.panel.complain(info.error);
      else this.picker.begin(info);
    } catch {
      this.picker.lost();
    }
  }

  #listen() {
    const { root } = this.picker;
    const over = (on) => root.classList.toggle("dropping", on);
    this.listeners = [
      ["dragover", (event) => {
        event.preventDefault();
        over(true);
      }],
      ["dragleave", (event) => event.relatedTarget || over(false)],
      ["drop", (event) => {
        event.preventDefault();
        over(false);
        this.open(event.dataTransfer.files[0]);
      }],
    ];
    for (const [name, listener] of this.listeners) root.addEventListener(name, listener);
  }

  #append(turn) {
    this.turns.append(turn.element);
    this.last = turn;
    return turn;
  }

  #running(running) {
    this.running = running;
    this.stop.hidden = !running;
    this.retry.hidden = running || !this.last;
    this.picker.render();
  }

  async #stream(name, payload) {
    if (this.running) return;
    if (name === "retry") this.last.element.remove();
    const turn = this.#append(new Turn(payload.question ?? this.last?.asked.textContent ?? this.picker.panel.placeholder));
    this.#running(true);
    let done = false;
    const scroll = () => this.turns.scrollTo({ top: this.turns.scrollHeight });
    scroll();
    try {
      await this.picker.transport.stream(name, payload, (line) => {
        const stuck = this.turns.scrollHeight - this.turns.scrollTop - this.turns.clientHeight < 40;
        done ||= this.#take(turn, line);
        if (stuck) scroll();
      });
      if (!done) turn.fail("The answer ended early.");
    } catch {
      turn.fail("The connection to vipcli is lost.");
      this.picker.lost();
    }
    this.#running(false);
  }

  /** Take a line of an answer; returns whether it was the last. */
  #take(turn, line) {
    if (line.text) turn.add(line.text);
    if (line.note) turn.note(line.note);
    if (line.error) {
      turn.fail(line.error);
      this.picker.panel.field.value ||= this.asked ?? "";
    }
    if (line.answer === undefined) return Boolean(line.error);
    if (line.question) turn.asked.textContent = line.question;
    for (const note of line.notes ?? []) turn.note(note);
    if (line.probability !== null && line.probability !== undefined) {
      turn.note(`Probability ${Math.round(line.probability * 100)} %`);
    }
    turn.finish(line.answer, line.ended);
    return true;
  }

  async #copy() {
    const reply = await this.picker.call("command", { marks: this.picker.message });
    if (!reply) return;
    await navigator.clipboard.writeText(reply.command);
    this.picker.say("The command is copied.");
  }

  async #download(name, file) {
    const blob = await this.picker.call(name, {});
    if (!(blob instanceof Blob)) return;
    const link = make("a", { href: URL.createObjectURL(blob), download: file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}
