/** Conversations as files: Markdown to read, JSON Lines for `picochat sft`. */

import { h } from "./dom.js";
import { messagesOf, nameOf, pathOf, textOf } from "./tree.js";

/** The shown path of a conversation as Markdown: thinking as quotes, tool calls as code. */
export function toMarkdown(conversation) {
  const sections = [];
  if (conversation.system.trim()) sections.push(`**System**\n\n${conversation.system.trim()}`);
  for (const node of pathOf(conversation)) {
    const parts = node.role === "user" ? [{ type: "text", text: node.text }] : node.parts;
    const name = node.role === "user" ? "**User**" : "**Assistant**";
    sections.push([name, ...parts.map(markdownPart)].filter(Boolean).join("\n\n"));
  }
  return `${sections.join("\n\n")}\n`;
}

function markdownPart({ type, text }) {
  if (type === "text") return text.trim();
  if (type === "thinking")
    return text
      .trim()
      .split("\n")
      .map((line) => `> ${line}`)
      .join("\n");
  return `    ${type === "tool_result" ? "= " : ""}${text}`;
}

/** Rows of `{"messages": [...]}`, of the conversations that hold an answer to learn from. */
export function toJsonl(conversations) {
  const rows = conversations
    .map((conversation) => {
      const path = pathOf(conversation);
      // A question without an answer at the end is nothing to learn from.
      while (path.length && (path.at(-1).role === "user" || !textOf(path.at(-1)).trim())) path.pop();
      return path.length ? JSON.stringify({ messages: messagesOf(conversation, path) }) : "";
    })
    .filter(Boolean);
  return rows.map((row) => `${row}\n`).join("");
}

/** Let the browser save a text as a file. */
export function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A file name from what a conversation is called. */
export function fileName(conversation, ending) {
  const words = nameOf(conversation)
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, "-");
  return `${words.replaceAll(/^-+|-+$/g, "").slice(0, 48) || "conversation"}.${ending}`;
}
