// Questions and answers. A model's text is only ever shown as text.

import { iconButton, make, textButton } from "./stage.js";

const ENDS = { length: "The answer was cut off at the most tokens allowed.", halted: "Stopped." };

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

  /** What a command says is its answer. */
  finishCommand() {
    for (const note of this.element.querySelectorAll(".note")) note.className = "answer";
    this.finish();
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
    for (const { question, answer, ended } of turns) {
      this.last = this.#append(new Turn(question));
      this.last.finish(answer, ended);
    }
    this.count = turns.length;
    this.stop = textButton("Stop", () => picker.call("stop", {}));
    this.retry = textButton("Retry", () => this.#stream("retry", {}));
    this.file = make("input", { type: "file", accept: "image/*,video/*", hidden: true,
      onchange: () => this.open(this.file.files[0]) });
    this.element = make("section", { className: "conversation" },
      make("header", {}, make("span", { className: "model" }, model ?? ""),
        iconButton("picture", "Open another picture", () => this.file.click()), this.file),
      this.turns,
      make("div", { className: "actions" }, this.stop, this.retry,
        textButton("Copy command", () => this.#copy()),
        textButton("Save", () => this.#download("save", "conversation.json")),
        textButton("Export", () => this.#download("export", "conversation.html"))));
    this.#running(false);
    this.#listen();
  }

  end() {
    for (const button of this.element.querySelectorAll("button")) button.disabled = true;
  }

  close() {
    for (const [name, listener] of this.listeners) this.picker.root.removeEventListener(name, listener);
  }

  async ask(payload) {
    this.asked = payload.question;
    this.picker.panel.complain("");
    await this.#stream("ask", payload);
  }

  async open(file) {
    if (!file || this.running || this.picker.ended) return;
    this.picker.panel.complain("");
    try {
      const info = await this.picker.transport.upload("open", file);
      if (info.error) this.picker.panel.complain(info.error);
      else this.picker.begin(info, null, true);
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
    const again = name === "retry" && this.last;
    if (again) again.element.remove();
    const turn = this.#append(new Turn(again ? again.asked.textContent : payload.question ?? this.picker.panel.placeholder));
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
      if (done || this.picker.ended) turn.finish();
      else turn.fail("The answer ended early.");
    } catch {
      // The page says why.
      turn.finish();
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
    if (line.done) turn.finishCommand();
    if (line.answer === undefined) return Boolean(line.error || line.done);
    if (line.question) turn.asked.textContent = line.question;
    for (const note of line.notes ?? []) turn.note(note);
    if (line.probability !== null && line.probability !== undefined) {
      turn.note(`Probability ${Math.round(line.probability * 100)} %`);
    }
    turn.finish(line.answer, line.ended);
    this.last = turn;
    this.count = line.turns;
    this.picker.save();
    return true;
  }

  async #copy() {
    const reply = await this.picker.call("command", { marks: this.picker.message });
    if (!reply) return;
    this.picker.panel.complain(reply.error ?? "");
    if (reply.error) return;
    try {
      await navigator.clipboard.writeText(reply.command);
      this.picker.say("The command is copied.");
    } catch {
      const turn = this.#append(new Turn("Copy this command:"));
      turn.finish(reply.command);
      turn.element.scrollIntoView();
    }
  }

  async #download(name, file) {
    const blob = await this.picker.call(name, {});
    if (!(blob instanceof Blob)) return;
    const link = make("a", { href: URL.createObjectURL(blob), download: file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}
