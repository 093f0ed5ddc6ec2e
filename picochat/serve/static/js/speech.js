/** Tells screen readers of an answer as it grows: sentence by sentence, not token by token. */

import { byId, h } from "./dom.js";
import { visible } from "./visible.js";

const SENTENCE = /[^]*?(?:[.!?]\s|\n)/y;

/** Reads out one answer. */
export class Speech {
  #done = 0;

  constructor() {
    byId("spoken").replaceChildren();
  }

  /** Take the whole text so far; at the end with `isLast`. */
  update(text, isLast = false) {
    for (;;) {
      SENTENCE.lastIndex = this.#done;
      const sentence = SENTENCE.exec(text)?.[0] ?? (isLast ? text.slice(this.#done) : "");
      if (!sentence) return;
      this.#done += sentence.length;
      say(sentence.trim());
    }
  }
}

/** Read out a text of our own. */
export function say(text) {
  if (text) byId("spoken").append(h("p", {}, visible(text)));
}
