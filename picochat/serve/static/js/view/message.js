/** One turn: the article with its text, what is known about it, and what can be done with it. */

import { endingOf, isEmpty, numTokens, tokensPerSecond } from "../answer.js";
import { h } from "../dom.js";
import { icon } from "../icons.js";
import { visible } from "../visible.js";
import { AnswerView } from "./answer.js";

/** A button that the transcript acts upon. */
function action(name, label, image, attributes = {}) {
  const shared = {
    type: "button",
    class: "icon-button small",
    "data-action": name,
    title: label,
    "aria-label": label,
  };
  return h("button", { ...shared, ...attributes }, icon(image));
}

/** `‹ 2 / 3 ›`, where a turn has siblings. */
function pager(siblings, index) {
  if (siblings < 2) return null;
  return h(
    "span",
    { class: "pager", role: "group", "aria-label": "Versions" },
    action("before", "Version before", "left", { disabled: index === 0 }),
    h("span", { class: "number" }, `${index + 1} / ${siblings}`),
    action("after", "Next version", "right", { disabled: index === siblings - 1 }),
  );
}

/** An article; `parent` is the node that holds `node`. */
class MessageView {
  constructor(node, parent, name) {
    this.node = node;
    this.siblings = parent.children.length;
    this.index = parent.children.indexOf(node);
    this.element = h(
      "article",
      { class: `message ${node.role}`, "data-id": node.id },
      h("h2", { class: "hidden" }, name),
    );
  }
}

export class QuestionView extends MessageView {
  constructor(node, parent) {
    super(node, parent, "You");
    const bubble = h("div", { class: "bubble", dir: "auto" }, visible(node.text));
    const actions = h(
      "div",
      { class: "actions" },
      pager(this.siblings, this.index),
      action("edit", "Edit and ask again", "edit"),
      action("copy", "Copy", "copy"),
    );
    this.element.append(bubble, actions);
  }

  update() {}
}

export class AnswerMessageView extends MessageView {
  #view = new AnswerView();
  #after = h("div", { class: "after" });
  #actions = h("div", { class: "actions" });
  #stateShown = "";
  showsTokens = false;

  constructor(node, parent) {
    super(node, parent, node.model ? `Answer of ${visible(node.model)}` : "Answer");
    this.element.append(this.#view.element, this.#after, this.#actions);
  }

  /** Draw what is new. `generation`: the one that writes it now, if any. */
  update(generation, contextLength) {
    const { node } = this;
    const isRunning = generation?.answer === node;
    this.#view.update(node.parts, { isRunning, showsTokens: this.showsTokens });
    this.element.setAttribute("aria-busy", isRunning);
    this.element.classList.toggle("is-running", isRunning);
    this.element.classList.toggle("is-waiting", isRunning && isEmpty(node));
    const state = JSON.stringify([
      isRunning,
      generation?.waiting ?? 0,
      this.showsTokens,
      node.reason,
      contextLength,
    ]);
    if (state === this.#stateShown) return;
    this.#stateShown = state;
    if (isRunning) {
      this.#after.replaceChildren(...(generation.waiting ? [waitingNote(generation)] : []));
      this.#actions.replaceChildren();
    } else {
      this.#after.replaceChildren(...this.#ending(contextLength));
      this.#actions.replaceChildren(...this.#buttons());
    }
  }

  #ending(contextLength) {
    const { node } = this;
    if (node.error) return [errorBox(node.error)];
    const note = endingOf(node) || (isEmpty(node) ? "The model answered nothing." : "");
    return [note && h("p", { class: "ending" }, note), facts(node, contextLength)].filter(Boolean);
  }

  #buttons() {
    // The box with the error holds what helps then.
    if (this.node.error && isEmpty(this.node)) return [pager(this.siblings, this.index)].filter(Boolean);
    const hasTokens = this.node.parts.some((part) => part.tokens?.length);
    const tokens = { "aria-pressed": String(this.showsTokens) };
    return [
      pager(this.siblings, this.index),
      action("again", "Answer again", "again"),
      action("copy", "Copy", "copy"),
      hasTokens && action("tokens", "Token probabilities", "bars", tokens),
      action("edit", "Edit the answer", "edit"),
    ].filter(Boolean);
  }
}

function waitingNote({ why, waiting }) {
  return h("p", { class: "ending" }, `${why} Trying again in ${waiting} s.`);
}

function errorBox({ kind, message }) {
  const retry = h("button", { type: "button", class: "plain", "data-action": "again" }, "Try again");
  const truncate = h(
    "button",
    { type: "button", class: "plain", "data-action": "truncate" },
    "Leave out the oldest turns",
  );
  const start = h("button", { type: "button", class: "plain", "data-action": "new" }, "New conversation");
  const cures = kind === "context" ? [truncate, start] : [retry];
  return h(
    "div",
    { class: "error", role: "alert" },
    h("p", {}, visible(message)),
    h("p", { class: "cures" }, cures),
  );
}

/** Tokens, speed, time to the first token, context and seed of an answer that has ended. */
function facts(node, contextLength) {
  if (node.firstMs === null) return null;
  const speed = tokensPerSecond(node);
  const told = [
    visible(node.model),
    `${numTokens(node)} tokens`,
    speed && `${speed.toFixed(speed < 10 ? 1 : 0)} tok/s`,
    `first token ${(node.firstMs / 1000).toFixed(2)} s`,
    node.numContext && contextLength && `context ${node.numContext} of ${contextLength}`,
    node.seed !== null && `seed ${node.seed}`,
  ];
  return h(
    "p",
    { class: "facts" },
    told.filter(Boolean).map((fact) => h("span", {}, fact)),
  );
}
