/** An answer token by token: coloured by how likely each was, with what else could have stood there. */

import { byId, h } from "../dom.js";
import { visible, visibleToken } from "../visible.js";

/** Lowest probability of each level, from the likeliest down. */
export const LEVELS = [0.9, 0.5, 0.1, 0.02, 0];

function levelOf(probability) {
  return LEVELS.findIndex((lowest) => probability >= lowest);
}

/** "93 %", "0.4 %", "< 0.01 %". */
export function percent(probability) {
  const value = 100 * probability;
  if (value >= 99.95) return "100 %";
  if (value >= 10) return `${value.toFixed(0)} %`;
  if (value >= 0.995) return `${value.toFixed(1)} %`;
  return value >= 0.01 ? `${value.toFixed(2)} %` : "< 0.01 %";
}

/** What the colours mean. */
export function legend() {
  const names = LEVELS.map((lowest, level) =>
    lowest ? `≥ ${100 * lowest} %` : `< ${100 * LEVELS[level - 1]} %`,
  );
  const samples = names.map((name, level) => h("span", { class: `token level-${level}` }, name));
  return h("p", { class: "legend" }, "Probability, before any sampling option: ", samples);
}

/** The tokens of a part, as one widget: the arrow keys walk through it. */
export class TokenStrip {
  #tokens = [];

  constructor(label) {
    this.element = h("div", {
      ...{ class: "tokens", role: "listbox", "aria-orientation": "horizontal", "aria-label": label },
      onkeydown: (event) => this.#onKey(event),
      onpointerover: (event) => this.#show(event.target),
      onpointerout: () => hideCard(),
      onclick: (event) => event.target.focus(),
      onfocusin: (event) => this.#show(event.target),
      onfocusout: () => hideCard(),
    });
  }

  /** Show these tokens; those that are there already stay. */
  update(tokens) {
    for (const token of tokens.slice(this.#tokens.length)) {
      const index = this.#tokens.push(token) - 1;
      const probability = Math.exp(token.logprob);
      const shown = visible(token.text).replaceAll("\n", "⏎\n") || "∅";
      const attributes = {
        ...{ class: `token level-${levelOf(probability)}`, role: "option", "aria-selected": "false" },
        ...{ "aria-label": `${visibleToken(token.text)}, ${percent(probability)}` },
        ...{ tabindex: index ? "-1" : "0", "data-index": index },
      };
      this.element.append(h("span", attributes, shown));
    }
  }

  #show(element) {
    if (!element.dataset.index) return;
    showCard(element, this.#tokens[Number(element.dataset.index)]);
  }

  #onKey(event) {
    const last = this.#tokens.length - 1;
    const at = Number(event.target.dataset.index);
    const places = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
    const to = places[event.key];
    if (to === undefined || to < 0 || to > last) return;
    event.preventDefault();
    for (const [index, isCurrent] of [
      [at, false],
      [to, true],
    ]) {
      this.element.children[index].tabIndex = isCurrent ? 0 : -1;
      this.element.children[index].setAttribute("aria-selected", isCurrent);
    }
    this.element.children[to].focus();
  }
}

function showCard(element, token) {
  const card = byId("token-card");
  const chosen = Math.exp(token.logprob);
  const rows = token.top.map(([text, logprob]) => ({ text, probability: Math.exp(logprob) }));
  // Drawn from further down than the list reaches.
  if (!rows.some((row) => row.text === token.text)) rows.push({ text: token.text, probability: chosen });
  const head = h("p", {}, h("code", {}, visibleToken(token.text)), ` ${percent(chosen)}`);
  const note = h(
    "p",
    { class: "soft" },
    `log-probability ${token.logprob.toFixed(3).replace("-0.000", "0.000")}`,
  );
  const table = h(
    "table",
    {},
    h(
      "tbody",
      {},
      rows.map((row) => alternative(row, token.text)),
    ),
  );
  card.replaceChildren(head, note, table);
  card.hidden = false;
  place(card, element);
}

function alternative({ text, probability }, chosen) {
  const bar = h("span", { class: "share" });
  bar.style.setProperty("--share", probability);
  return h(
    "tr",
    { class: text === chosen ? "is-chosen" : "" },
    h("th", { scope: "row" }, h("code", {}, visibleToken(text))),
    h("td", {}, bar),
    h("td", { class: "number" }, percent(probability)),
  );
}

/** Put the card below the token, or above it where there is no room; never over the edge. */
function place(card, element) {
  const gap = 6;
  const spot = element.getClientRects()[0];
  const { width, height } = card.getBoundingClientRect();
  const left = Math.max(gap, Math.min(spot.left, document.documentElement.clientWidth - width - gap));
  const below = spot.bottom + gap;
  const isRoom = below + height < document.documentElement.clientHeight;
  card.style.setProperty("left", `${left}px`);
  card.style.setProperty("top", `${isRoom ? below : Math.max(gap, spot.top - height - gap)}px`);
}

export function hideCard() {
  byId("token-card").hidden = true;
}
