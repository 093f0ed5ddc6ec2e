/** What a model said: text, thinking and calls of the calculator. Only what has changed is drawn again. */

import { h } from "../dom.js";
import { icon } from "../icons.js";
import { renderInto } from "../markdown.js";
import { visible } from "../visible.js";
import { TokenStrip, legend } from "./tokens.js";

export class AnswerView {
  #cells = [];
  #hasTokens = false;

  constructor() {
    this.element = h("div", { class: "parts" });
  }

  /** Draw the parts; as single tokens with `showsTokens`. `isRunning`: the last one is still growing. */
  update(parts, { isRunning = false, showsTokens = false } = {}) {
    if (showsTokens !== this.#hasTokens) {
      this.#cells = [];
      this.element.replaceChildren(...(showsTokens ? [legend()] : []));
      this.#hasTokens = showsTokens;
    }
    const wanted = cellsOf(parts);
    wanted.forEach((cell, index) => {
      let view = this.#cells[index];
      if (!view || view.kind !== cell.kind) {
        view = makeCell(cell.kind, showsTokens);
        this.#cells[index]?.element.remove();
        this.#cells[index] = view;
        this.element.append(view.element);
      }
      view.update(cell, isRunning && index === wanted.length - 1);
    });
  }
}

/** Parts as what is drawn together: a call with its result. */
function cellsOf(parts) {
  const cells = [];
  for (const part of parts) {
    if (part.type === "tool_call") cells.push({ kind: "tool", expression: part.text, result: null });
    else if (part.type === "tool_result") cells.at(-1).result = part.text;
    else cells.push({ kind: part.type, part });
  }
  return cells;
}

function makeCell(kind, showsTokens) {
  if (kind === "tool") return new ToolCell();
  return kind === "thinking" ? new ThinkingCell(showsTokens) : new TextCell(showsTokens);
}

/** Text as Markdown, or as tokens where they are known and asked for. */
class TextCell {
  kind = "text";
  #strip = null;

  constructor(showsTokens, label = "Tokens of the answer") {
    if (showsTokens) this.#strip = new TokenStrip(label);
    this.element = h("div", { class: "prose" }, this.#strip?.element);
  }

  update({ part }) {
    if (this.#strip && part.tokens?.length) this.#strip.update(part.tokens);
    else renderInto(this.element, part.text);
  }
}

class ThinkingCell {
  kind = "thinking";
  #wasMoved = false;
  #text;
  #label;

  constructor(showsTokens) {
    this.#text = new TextCell(showsTokens, "Tokens of the thinking");
    this.#label = h("span", {}, "Thinking");
    const summary = h("summary", { onclick: () => (this.#wasMoved = true) }, icon("bulb"), this.#label);
    this.element = h("details", { class: "thinking" }, summary, this.#text.element);
    this.element.open = showsTokens;
  }

  update(cell, isGrowing) {
    this.#text.update(cell);
    this.element.classList.toggle("is-growing", isGrowing);
    const seconds = (cell.part.ms ?? 0) / 1000;
    const took = seconds >= 0.1 ? ` for ${seconds.toFixed(1)} s` : "";
    this.#label.textContent = isGrowing ? "Thinking…" : `Thought${took}`;
    // Open while it grows; afterwards as the reader left it.
    if (!this.#wasMoved && isGrowing) this.element.open = true;
    else if (!this.#wasMoved && !this.element.querySelector(".tokens")) this.element.open = false;
  }
}

/** A call of the calculator: the expression and what came out. */
class ToolCell {
  kind = "tool";
  #expression;
  #result;

  constructor() {
    this.#expression = h("code", { class: "expression" });
    this.#result = h("output", {});
    const label = h("span", { class: "hidden" }, "Calculator: ");
    const equals = h("span", { class: "equals" }, "=");
    this.element = h(
      "div",
      { class: "tool" },
      icon("calculator"),
      label,
      this.#expression,
      equals,
      this.#result,
    );
  }

  update({ expression, result }) {
    this.#expression.textContent = visible(expression);
    this.#result.textContent = result === null ? "…" : visible(result);
  }
}
