/** Server-sent events from the body of a response (HTML Living Standard, 9.2.6). */

/** Collects the data of events from text that comes in pieces of any size. */
export class EventParser {
  #rest = "";
  #data = [];

  /** Take more text; return the data of the events that it completes. */
  push(text) {
    this.#rest += text;
    const complete = [];
    for (;;) {
      const end = /\r\n|\n|\r(?!$)/.exec(this.#rest);
      if (!end) return complete;
      const line = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      if (line === "") {
        if (this.#data.length) complete.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
  }
}

/** Yield the data of each event of a body, a ReadableStream of bytes, as it comes. */
export async function* eventsOf(body) {
  const parser = new EventParser();
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(value);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
