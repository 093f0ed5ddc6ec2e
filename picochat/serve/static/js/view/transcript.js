/** The turns of the current conversation, and the clicks on them. */

import { byId, eachFrame, h } from "../dom.js";
import { Speech, say } from "../speech.js";
import { parentOf, pathOf, textOf } from "../tree.js";
import { AnswerMessageView, QuestionView } from "./message.js";
import { hideCard } from "./tokens.js";

const NEAR_END = 80;
/** What can be done while an answer is being written. */
const WHILE_RUNNING = new Set(["copy", "tokens"]);

export class Transcript {
  #views = [];
  #isAtEnd = true;
  #speech = null;
  #closeEditor = () => {};
  /** Id of the conversation that is shown. */
  #shown = "";
  /** Answers whose tokens are shown. */
  #withTokens = new Set();

  constructor(app) {
    this.app = app;
    this.element = byId("transcript");
    this.scroller = byId("scroller");
    const draw = eachFrame(() => this.#drawAnswer());
    app.addEventListener("conversation", () => this.#show());
    app.addEventListener("models", () => this.#updateAll());
    app.addEventListener("answer", ({ detail }) => {
      if (detail.conversation !== app.current) return;
      this.#speak(detail);
      draw();
    });
    this.element.addEventListener("click", (event) => this.#onClick(event));
    this.scroller.addEventListener("scroll", () => this.#onScroll());
    new ResizeObserver(() => this.#follow()).observe(this.element);
    byId("to-end").addEventListener("click", () => this.toEnd());
  }

  /** Scroll to the newest message and stay there while it grows. */
  toEnd() {
    this.#isAtEnd = true;
    this.#follow();
  }

  /** Do something with the newest turn of a role, as a click on its button does. */
  act(name, role) {
    const view = this.#views.findLast((candidate) => candidate.node.role === role);
    view?.element.querySelector(`[data-action="${name}"]`)?.click();
  }

  /** Show the newest answer's tokens and go to the first of them, or hide them again. */
  walkTokens() {
    this.act("tokens", "assistant");
    this.#views.at(-1)?.element.querySelector(".parts > .prose .token")?.focus();
  }

  #show() {
    hideCard();
    this.#closeEditor();
    const { current } = this.app;
    const path = pathOf(current);
    const hadFocus = this.#focused();
    // Turns that stay keep their elements: what was opened in them stays open.
    let same = 0;
    while (same < path.length && this.#isCurrent(this.#views[same], path[same])) same += 1;
    for (const view of this.#views.splice(same)) view.element.remove();
    for (const node of path.slice(same)) {
      const view = this.#viewOf(node, parentOf(current, node));
      this.#views.push(view);
      this.element.append(view.element);
    }
    this.#updateAll();
    this.#refocus(hadFocus);
    if (current.id !== this.#shown || this.app.generation) this.toEnd();
    this.#shown = current.id;
  }

  #isCurrent(view, node) {
    return view?.node === node && view.siblings === parentOf(this.app.current, node).children.length;
  }

  #viewOf(node, parent) {
    if (node.role === "user") return new QuestionView(node, parent);
    const view = new AnswerMessageView(node, parent);
    view.showsTokens = this.#withTokens.has(node.id);
    return view;
  }

  #updateAll() {
    for (const view of this.#views) this.#update(view);
  }

  #update(view) {
    view.update(
      this.app.generation,
      this.app.models.find(({ id }) => id === view.node.model)?.context_length,
    );
  }

  #drawAnswer() {
    const last = this.#views.at(-1);
    if (last) this.#update(last);
    this.#follow();
  }

  #speak({ generation }) {
    const isRunning = this.app.generation === generation;
    if (this.#speech?.generation !== generation) {
      this.#speech = new Speech();
      this.#speech.generation = generation;
      say("The model answers.");
    }
    this.#speech.update(textOf(generation.answer), !isRunning);
    if (!isRunning && generation.answer.error) say(generation.answer.error.message);
  }

  // Focus: the button that was pressed may be drawn anew

  #focused() {
    const button = document.activeElement?.closest?.("#transcript [data-action]");
    const index = this.#views.findIndex((view) => view.element.contains(button));
    return button ? { name: button.dataset.action, index } : null;
  }

  #refocus(focused) {
    if (!focused || this.element.contains(document.activeElement)) return;
    const article = this.#views[focused.index]?.element;
    const button = article?.querySelector(`[data-action="${focused.name}"]:enabled`);
    (button ?? article?.querySelector("[data-action]:enabled") ?? byId("prompt")).focus();
  }

  // Clicks

  #onClick(event) {
    const button = event.target.closest("[data-action]");
    if (!button || (this.app.generation && !WHILE_RUNNING.has(button.dataset.action))) return;
    const view = this.#views.find((candidate) => candidate.element.contains(button));
    const { node } = view;
    const actions = {
      edit: () => this.#edit(view),
      copy: () => this.#copy(node),
      again: () => this.app.regenerate(node),
      truncate: () => (this.app.setTruncate(true), this.app.regenerate(node)),
      new: () => this.app.startNew(),
      tokens: () => this.#toggleTokens(view),
      before: () => this.app.choose(node, -1),
      after: () => this.app.choose(node, 1),
    };
    actions[button.dataset.action]();
  }

  #toggleTokens(view) {
    view.showsTokens = !view.showsTokens;
    if (view.showsTokens) this.#withTokens.add(view.node.id);
    else this.#withTokens.delete(view.node.id);
    this.#update(view);
    view.element.querySelector('[data-action="tokens"]').focus();
  }

  async #copy(node) {
    try {
      await navigator.clipboard.writeText(textOf(node));
      this.app.emit("message", "Copied.");
    } catch {
      this.app.emit("message", "The browser does not let this page copy; select the text instead.");
    }
  }

  #edit(view) {
    this.#closeEditor();
    const { node } = view;
    const isQuestion = node.role === "user";
    const lastText = node.parts?.at(-1)?.type === "text" ? node.parts.at(-1).text : "";
    const field = h("textarea", { rows: "3", "aria-label": isQuestion ? "Your message" : "The answer" });
    field.value = isQuestion ? node.text : lastText;
    const close = () => {
      this.#closeEditor = () => {};
      form.replaceWith(view.element);
      view.element.querySelector('[data-action="edit"]')?.focus();
    };
    const finish = () => {
      const text = field.value;
      if (!text.trim()) return;
      close();
      if (isQuestion) this.app.editQuestion(node, text);
      else if (text !== lastText) this.app.editAnswer(node, text);
    };
    const onKey = (event) => {
      if (event.isComposing || !["Escape", "Enter"].includes(event.key) || event.shiftKey) return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === "Escape") close();
      else finish();
    };
    const save = h("button", { type: "submit", class: "primary" }, isQuestion ? "Ask" : "Keep");
    const cancel = h("button", { type: "button", class: "plain", onclick: close }, "Cancel");
    const onSubmit = (event) => (event.preventDefault(), finish());
    const form = h(
      "form",
      { class: `editor ${node.role}`, onkeydown: onKey, onsubmit: onSubmit },
      field,
      h("p", { class: "cures" }, save, cancel),
    );
    this.#closeEditor = close;
    view.element.replaceWith(form);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }

  // Scrolling

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    byId("to-end").hidden = this.#isAtEnd;
    hideCard();
  }

  #follow() {
    if (this.#isAtEnd) this.scroller.scrollTop = this.scroller.scrollHeight;
    byId("to-end").hidden = this.#isAtEnd;
  }
}
