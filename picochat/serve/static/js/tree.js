/**
 * A conversation as a tree: editing and regenerating never lose anything, they add a sibling. Pure functions
 * on plain objects, which are stored as they are.
 *
 *   conversation  {id, title, system, created, updated, root: {children, chosen}}
 *   question      {id, role: "user", text, children, chosen}
 *   answer        {id, role: "assistant", parts: [{type, text}], children, chosen, ...}; see answer.js
 *
 * `chosen` is the index of the child that the conversation goes on with.
 */

import { newId } from "./dom.js";

export const TITLE_LENGTH = 60;

export function newConversation() {
  const now = Date.now();
  return {
    id: newId(),
    title: "",
    system: "",
    created: now,
    updated: now,
    root: { children: [], chosen: 0 },
  };
}

export function newQuestion(text) {
  return { id: newId(), role: "user", text, children: [], chosen: 0 };
}

/** The nodes that are shown, from the first question on. */
export function pathOf(conversation) {
  const path = [];
  let node = conversation.root;
  while (node.children.length) {
    node = node.children[node.chosen];
    path.push(node);
  }
  return path;
}

/** The node that holds `node` among its children. */
export function parentOf(conversation, node) {
  const visit = (parent) => {
    if (parent.children.includes(node)) return parent;
    for (const child of parent.children) {
      const found = visit(child);
      if (found) return found;
    }
    return null;
  };
  return visit(conversation.root);
}

/** Add a child and go on with it. */
export function add(parent, child) {
  parent.children.push(child);
  parent.chosen = parent.children.length - 1;
  return child;
}

/** Take a child out again. */
export function remove(parent, child) {
  parent.children.splice(parent.children.indexOf(child), 1);
  parent.chosen = Math.max(0, Math.min(parent.chosen, parent.children.length - 1));
}

/** Go on with the sibling `step` places further; false where there is none. */
export function chooseSibling(conversation, node, step) {
  const parent = parentOf(conversation, node);
  const index = parent.children.indexOf(node) + step;
  if (index < 0 || index >= parent.children.length) return false;
  parent.chosen = index;
  return true;
}

/** Every node, in no particular order. */
export function* allNodes(conversation) {
  const waiting = [...conversation.root.children];
  while (waiting.length) {
    const node = waiting.pop();
    yield node;
    waiting.push(...node.children);
  }
}

/** What a node says, without thinking and tools. */
export function textOf(node) {
  if (node.role === "user") return node.text;
  return node.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

/** The title, or the beginning of the first question. */
export function nameOf(conversation) {
  if (conversation.title) return conversation.title;
  const [first] = pathOf(conversation);
  const words = first ? first.text.trim().replaceAll(/\s+/g, " ") : "";
  if (!words) return "New conversation";
  const letters = [...words];
  return letters.length > TITLE_LENGTH ? `${letters.slice(0, TITLE_LENGTH - 1).join("")}…` : words;
}

/**
 * The messages that lead to an answer, in the form that the server and SFT read: those of `path`, and the
 * system prompt before them. `content` is a string, or a list of parts where there is more than text.
 */
export function messagesOf(conversation, path) {
  const messages = conversation.system.trim() ? [{ role: "system", content: conversation.system }] : [];
  for (const [place, node] of path.entries()) {
    const answer = node.role === "user" ? path[place + 1] : node;
    // What failed before its first token was never said; nor was it answered.
    if (answer && !contentOf(answer.parts).length) continue;
    if (node.role === "user") messages.push({ role: "user", content: node.text });
    else messages.push({ role: "assistant", content: contentOf(node.parts) });
  }
  return messages;
}

function contentOf(parts) {
  // An empty call counts: its result would otherwise stand alone.
  const told = parts.filter((part) => part.text || part.type.startsWith("tool_"));
  if (told.every((part) => part.type === "text")) return told.map((part) => part.text).join("");
  return told.map(({ type, text }) => ({ type, text }));
}

/** Whether a conversation holds all of the words, wherever they stand in it. */
export function holds(conversation, words) {
  const wanted = words.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return true;
  const told = [conversation.title, ...Array.from(allNodes(conversation), textOf)]
    .join("\n")
    .toLocaleLowerCase();
  return wanted.every((word) => told.includes(word));
}
