/**
 * The state of the page and what can be done with it. Views listen to its events and call its methods; it
 * knows no element.
 *
 *   list          the conversations have changed       models   the models, or whether they can be asked for
 *   conversation  another one is shown, or its turns    settings
 *                 have changed                          message  something to say for a moment (`detail`)
 *   answer        an answer has grown or ended (`detail`: {conversation, generation})
 */

import { isEmpty, newAnswer } from "./answer.js";
import { ApiError, apiKey, isAlive, listModels } from "./api.js";
import { Generation } from "./generation.js";
import { loadSettings, samplingFields, saveSettings } from "./settings.js";
import { ConversationStore } from "./storage.js";
import * as tree from "./tree.js";

const NUM_ALTERNATIVES = 5;
const SAVE_EVERY_MS = 2000;
const POLL_MS = 3000;

export class App extends EventTarget {
  settings = loadSettings();
  /** The last used first. */
  conversations = [];
  current = tree.newConversation();
  models = [];
  /** What keeps the models from being known, {kind, message}, or null. */
  trouble = null;
  /** The generations that run, by the id of their conversation. */
  running = new Map();
  #store = null;

  emit(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** Load what is kept, and ask the server for its models. */
  async start() {
    this.#store = await ConversationStore.open();
    if (this.#store) {
      this.conversations = await this.#store.all();
      this.#store.onForeignChange((id) => this.#adopt(id));
    } else {
      this.emit(
        "message",
        "This browser keeps no data for the page: conversations are gone when it is closed.",
      );
    }
    this.emit("list");
    this.emit("conversation");
    await this.findModels();
  }

  // Models

  get model() {
    return this.models.find((model) => model.id === this.settings.model) ?? this.models[0] ?? null;
  }

  async findModels() {
    try {
      this.models = await listModels();
      this.trouble = null;
    } catch (error) {
      this.#note(error);
    }
    this.emit("models");
  }

  useKey(key) {
    apiKey.set(key.trim());
    return this.findModels();
  }

  #note(error) {
    if (!(error instanceof ApiError)) throw error;
    const wasGone = this.trouble?.kind === "gone";
    this.trouble = { kind: error.kind, message: error.message };
    if (error.kind === "gone" && !wasGone) this.#waitForServer();
  }

  async #waitForServer() {
    do await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    while (!(await isAlive()));
    this.trouble = null;
    await this.findModels();
  }

  set(changes) {
    Object.assign(this.settings, changes);
    saveSettings(this.settings);
    this.emit("settings");
  }

  setSampling(name, value) {
    this.set({ sampling: { ...this.settings.sampling, [name]: value } });
  }

  // Conversations

  startNew() {
    if (this.current.root.children.length || this.current.system) this.current = tree.newConversation();
    this.emit("conversation");
  }

  open(conversation) {
    this.current = conversation;
    this.emit("conversation");
  }

  rename(conversation, title) {
    conversation.title = title.trim();
    this.emit("conversation");
    return this.#save(conversation, { isUsed: false });
  }

  setSystem(text) {
    this.current.system = text;
    this.#save(this.current, { isUsed: false });
  }

  setTruncate(isOn) {
    this.current.truncate = isOn;
    this.emit("settings");
    this.#save(this.current, { isUsed: false });
  }

  /** Delete conversations; return a function that brings them back. */
  async delete(conversations) {
    const ids = new Set(conversations.map(({ id }) => id));
    for (const id of ids) this.running.get(id)?.stop();
    this.conversations = this.conversations.filter(({ id }) => !ids.has(id));
    if (ids.has(this.current.id)) this.current = tree.newConversation();
    this.emit("list");
    this.emit("conversation");
    await this.#store?.delete(...ids);
    return async () => {
      this.conversations.push(...conversations);
      for (const conversation of conversations) await this.#save(conversation, { isUsed: false });
    };
  }

  // Turns of the current conversation

  get generation() {
    return this.running.get(this.current.id) ?? null;
  }

  stop() {
    this.generation?.stop();
  }

  /** Ask, after what is shown. */
  send(text) {
    const parent = tree.pathOf(this.current).at(-1) ?? this.current.root;
    return this.#ask(tree.add(parent, tree.newQuestion(text)));
  }

  /** Ask something else instead of `question`, which is kept as a sibling. */
  editQuestion(question, text) {
    return this.#ask(tree.add(tree.parentOf(this.current, question), tree.newQuestion(text)));
  }

  /** Put another text in the place of the last text of an answer, which is kept as a sibling. */
  editAnswer(answer, text) {
    const parts = answer.parts.map(({ type, text }) => ({ type, text }));
    while (parts.at(-1)?.type === "text") parts.pop();
    const edited = {
      ...newAnswer(answer.model),
      parts: [...parts, { type: "text", text }],
      reason: "edited",
    };
    tree.add(tree.parentOf(this.current, answer), edited);
    this.emit("conversation");
    return this.#save(this.current);
  }

  /** Answer a question once more; what failed before it had begun makes way. */
  regenerate(answer) {
    const question = tree.parentOf(this.current, answer);
    if (answer.error && isEmpty(answer)) tree.remove(question, answer);
    return this.#ask(question);
  }

  choose(node, step) {
    if (this.generation || !tree.chooseSibling(this.current, node, step)) return;
    this.emit("conversation");
    this.#save(this.current);
  }

  async #ask(question) {
    const conversation = this.current;
    const path = tree.pathOf(conversation);
    const messages = tree.messagesOf(conversation, path.slice(0, path.indexOf(question) + 1));
    const model = this.model?.id ?? "";
    const answer = tree.add(question, newAnswer(model));
    const body = {
      ...{ model: model || undefined, messages, ...samplingFields(this.settings) },
      ...{ logprobs: true, top_logprobs: NUM_ALTERNATIVES },
      truncation: conversation.truncate ? "auto" : "disabled",
    };
    let saved = performance.now();
    const generation = new Generation(answer, body, () => {
      this.emit("answer", { conversation, generation });
      if (performance.now() - saved < SAVE_EVERY_MS) return;
      saved = performance.now();
      this.#save(conversation);
    });
    this.running.set(conversation.id, generation);
    this.emit("conversation");
    this.#save(conversation);
    try {
      await generation.run();
    } finally {
      this.running.delete(conversation.id);
    }
    if (answer.error) this.#noteFailure(answer.error);
    this.emit("answer", { conversation, generation });
    await this.#save(conversation);
  }

  #noteFailure({ kind, message }) {
    if (kind !== "gone" && kind !== "key") return;
    this.#note(new ApiError(kind, message));
    this.emit("models");
  }

  // Keeping

  /** Write a conversation; one that is used moves to the top of the list. */
  async #save(conversation, { isUsed = true } = {}) {
    if (!conversation.root.children.length) return;
    // Deleted while it was being answered.
    const isKnown = this.conversations.includes(conversation);
    if (!isKnown && conversation !== this.current) return;
    if (isUsed) conversation.updated = Date.now();
    if (!isKnown) this.conversations.push(conversation);
    this.conversations.sort((a, b) => b.updated - a.updated);
    this.emit("list");
    try {
      const gone = new Set((await this.#store?.put(conversation)) ?? []);
      if (!gone.size) return;
      this.conversations = this.conversations.filter(({ id }) => !gone.has(id));
      this.emit("list");
      this.emit("message", "The oldest conversations were removed to make room.");
    } catch {
      this.emit("message", "The browser could not keep the conversation: its storage is full.");
    }
  }

  /** Take over what another tab did. */
  async #adopt(id) {
    if (this.running.has(id)) return;
    const conversation = await this.#store.get(id);
    this.conversations = this.conversations.filter((known) => known.id !== id);
    if (conversation) this.conversations.push(conversation);
    this.conversations.sort((a, b) => b.updated - a.updated);
    this.emit("list");
    if (this.current.id !== id) return;
    this.current = conversation ?? tree.newConversation();
    this.emit("conversation");
  }
}
