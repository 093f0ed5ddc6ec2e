/** Where a message is written, the buttons beside it, and the line below that tells how an answer does. */

import { isEmpty, numTokens, tokensPerSecond } from "../answer.js";
import { byId, eachFrame, h } from "../dom.js";
import { Kept } from "../kept.js";
import { pathOf } from "../tree.js";

const draft = new Kept("sessionStorage", "picochat.draft");
const MAX_HEIGHT = 240;

export class Composer {
  constructor(app, transcript) {
    this.app = app;
    this.transcript = transcript;
    this.field = byId("prompt");
    this.field.value = draft.get();
    this.field.addEventListener("input", () => this.#fit());
    this.field.addEventListener("keydown", (event) => this.#onKey(event));
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("stop").addEventListener("click", () => app.stop());
    const draw = eachFrame(() => this.#draw());
    for (const name of ["conversation", "answer", "models"]) app.addEventListener(name, draw);
    // The time until the first token runs on while nothing comes.
    setInterval(() => app.generation && draw(), 200);
    this.#fit();
    this.#draw();
  }

  focus() {
    this.field.focus();
  }

  /** Send what is written, or `text`. */
  send(text = this.field.value) {
    if (!text.trim() || this.app.generation) return;
    this.field.value = "";
    this.#fit();
    this.transcript.toEnd();
    this.app.send(text);
    this.field.focus();
  }

  #onKey(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && !this.field.value) {
      event.preventDefault();
      this.transcript.act("edit", "user");
    }
  }

  #fit() {
    draft.set(this.field.value);
    this.field.style.setProperty("height", "auto");
    this.field.style.setProperty("height", `${Math.min(MAX_HEIGHT, this.field.scrollHeight)}px`);
    byId("send").disabled = !this.field.value.trim();
  }

  #draw() {
    const { generation } = this.app;
    // The button that is pressed must not vanish under the focus.
    const hadFocus = [byId("send"), byId("stop")].includes(document.activeElement);
    byId("send").hidden = Boolean(generation);
    byId("stop").hidden = !generation;
    if (hadFocus) this.field.focus();
    byId("live").textContent = generation ? progress(generation) : "";
    byId("hint").hidden = Boolean(generation);
    this.#drawContext();
  }

  /** The context as the last answer that knows it left it, and what has been written since. */
  #drawContext() {
    const path = pathOf(this.app.current);
    const known = path.findLast((node) => node.numContext);
    const length = this.app.model?.context_length;
    byId("context").hidden = !known || !length;
    if (!known || !length) return;
    const isGrowing = this.app.generation?.answer === path.at(-1) && known !== path.at(-1);
    const used = Math.min(length, known.numContext + (isGrowing ? numTokens(path.at(-1)) : 0));
    const meter = byId("context-meter");
    meter.style.setProperty("--share", used / length);
    meter.setAttribute("aria-valuemax", length);
    meter.setAttribute("aria-valuenow", used);
    meter.classList.toggle("is-nearly-full", used > 0.85 * length);
    byId("context-text").replaceChildren(
      h("span", { class: "wide-only" }, "context "),
      `${isGrowing ? "≈ " : ""}${used} of ${length}`,
    );
  }
}

function progress({ answer, waiting, began }) {
  if (waiting) return `Busy; again in ${waiting} s`;
  if (isEmpty(answer))
    return `Waiting for the first token, ${((performance.now() - began) / 1000).toFixed(1)} s`;
  const speed = tokensPerSecond(answer);
  const rate = speed ? ` · ${speed.toFixed(speed < 10 ? 1 : 0)} tok/s` : "";
  return `${numTokens(answer)} tokens${rate} · first ${(answer.firstMs / 1000).toFixed(2)} s`;
}
