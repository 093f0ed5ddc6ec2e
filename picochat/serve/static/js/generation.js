/** One answer being written: asks, retries while the server is busy, and can be stopped. */

import { take, isEmpty } from "./answer.js";
import { ApiError, streamChat } from "./api.js";

const MAX_TRIES = 20;

export class Generation {
  #abort = new AbortController();

  /**
   * `answer` is filled; `onChange` is called after every change of it.
   * `body` is the request without `stream`.
   */
  constructor(answer, body, onChange) {
    this.answer = answer;
    this.body = body;
    this.onChange = onChange;
    /** Seconds until the next try, while the server is busy; else 0. */
    this.waiting = 0;
    /** What the server said that makes it wait. */
    this.why = "";
    /** When it was asked for, as of `performance.now()`. */
    this.began = performance.now();
  }

  /** Fill the answer. What the server does wrong is not thrown: it is in `answer.error`. */
  async run() {
    const { answer } = this;
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#stream();
        return;
      } catch (error) {
        if (this.#abort.signal.aborted) {
          answer.reason = "cancelled";
          return;
        }
        if (!(error instanceof ApiError)) throw error;
        const mayRetry = error.kind === "busy" && isEmpty(answer) && tries < MAX_TRIES;
        this.why = error.message;
        if (mayRetry && (await this.#wait(error.retryAfter))) continue;
        answer.reason = mayRetry ? "cancelled" : "error";
        if (!mayRetry) answer.error = { kind: error.kind, message: error.message };
        return;
      } finally {
        this.onChange();
      }
    }
  }

  /** End it; what has come stays. */
  stop() {
    this.#abort.abort();
  }

  async #stream() {
    this.began = performance.now();
    for await (const chunk of streamChat(this.body, this.#abort.signal)) {
      take(this.answer, chunk, Math.round(performance.now() - this.began));
      this.onChange();
    }
  }

  /** Count down; false if stopped meanwhile. */
  async #wait(seconds) {
    for (this.waiting = Math.ceil(seconds); this.waiting > 0; this.waiting -= 1) {
      this.onChange();
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#abort.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
      });
      if (this.#abort.signal.aborted) {
        this.waiting = 0;
        return false;
      }
    }
    return true;
  }
}
