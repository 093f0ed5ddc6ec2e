/**
 * A small part of Markdown, as DOM nodes. What is not listed here stays as it was written:
 *
 *   - paragraphs, parted by blank lines; a line break within one is kept
 *   - lists of lines that begin with `- `, `* `, `+ ` or `1. `, nested by indentation
 *   - code between fences of three or more backticks or tildes
 *   - `code` and **bold**
 *
 * Headings and single asterisks are left out on purpose: models trained on GSM8K write `#### 62`, and `2*3*4`
 * is a product.
 */

import { h } from "./dom.js";
import { visible } from "./visible.js";

const FENCE = /^( {0,3})(`{3,}|~{3,})([^`\n]*)$/;
const ITEM = /^( *)(?:([-*+])|(\d{1,9})([.)])) +(?=\S)/;
const INLINE =
  /(`+)(?!`)([^]*?[^`])\1(?!`)|(?<![\p{L}\p{N}*])\*\*(?=[^\s*])([^*]*[^\s*])\*\*(?![\p{L}\p{N}*])/gu;

/**
 * Cut a text into blocks: `{kind: "paragraph" | "list" | "code", lines}`. The lines of code are those between
 * the fences; an unclosed fence reaches to the end.
 */
export function blocks(text) {
  const found = [];
  let block = null;
  let fence = null;
  for (const line of text.split("\n")) {
    if (fence) {
      if (isClosing(line, fence)) fence = null;
      else block.lines.push(line);
      continue;
    }
    const opening = FENCE.exec(line);
    if (opening) {
      fence = opening[2];
      block = { kind: "code", lines: [] };
      found.push(block);
    } else if (!line.trim()) {
      block = null;
    } else if (block?.kind === "list" && (ITEM.test(line) || /^ +\S/.test(line))) {
      block.lines.push(line);
    } else if (ITEM.test(line) && !(block?.kind === "paragraph" && isLaterNumber(line))) {
      block = { kind: "list", lines: [line] };
      found.push(block);
    } else if (block?.kind === "paragraph") {
      block.lines.push(line);
    } else {
      block = { kind: "paragraph", lines: [line] };
      found.push(block);
    }
  }
  return found;
}

/** A sentence may happen to break before `1986. `: within a paragraph only a 1 begins a list. */
function isLaterNumber(line) {
  return ![undefined, "1"].includes(ITEM.exec(line)[3]);
}

function isClosing(line, fence) {
  const marks = line.trim();
  return marks.length >= fence.length && marks === fence[0].repeat(marks.length);
}

/** Show a text within `element`. Blocks that are there already and have not changed stay as they are. */
export function renderInto(element, text) {
  const wanted = blocks(text);
  wanted.forEach((block, index) => {
    const source = JSON.stringify(block);
    const present = element.children[index];
    if (present?.source === source) return;
    const made = renderBlock(block);
    made.source = source;
    if (present) present.replaceWith(made);
    else element.append(made);
  });
  while (element.children.length > wanted.length) element.lastElementChild.remove();
}

function renderBlock({ kind, lines }) {
  if (kind === "code") return h("pre", { tabindex: "0" }, h("code", {}, visible(lines.join("\n"))));
  if (kind === "list") return renderList(lines);
  return h("p", { dir: "auto" }, inline(lines.join("\n").trim()));
}

/** A list from its lines, the first of which begins an item; what is indented further belongs to the item. */
function renderList(lines) {
  const first = ITEM.exec(lines[0]);
  const depth = first[1].length;
  const isNumbered = first[3] !== undefined;
  const list = h(isNumbered ? "ol" : "ul", isNumbered && first[3] !== "1" ? { start: first[3] } : {});
  let at = 0;
  while (at < lines.length) {
    const head = ITEM.exec(lines[at]);
    const text = [lines[at].slice(head[0].length)];
    const inner = [];
    for (at += 1; at < lines.length; at += 1) {
      const next = ITEM.exec(lines[at]);
      if (next && next[1].length <= depth + 1) break;
      if (next || inner.length) inner.push(lines[at]);
      else text.push(lines[at].trim());
    }
    list.append(h("li", { dir: "auto" }, inline(text.join("\n")), inner.length ? renderList(inner) : null));
  }
  return list;
}

/** The nodes of a stretch of text with `code` and **bold** in it. */
export function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > end) nodes.push(visible(text.slice(end, match.index)));
    const [all, ticks, code, bold] = match;
    nodes.push(ticks ? h("code", {}, visible(unpadded(code))) : h("strong", {}, inline(bold)));
    end = match.index + all.length;
  }
  if (end < text.length) nodes.push(visible(text.slice(end)));
  return nodes;
}

/** One blank on each side of code is not part of it, so that code may begin with a backtick. */
function unpadded(code) {
  return code.startsWith(" ") && code.endsWith(" ") && code.trim() ? code.slice(1, -1) : code;
}
