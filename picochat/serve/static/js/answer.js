/**
 * An answer that grows by the chunks of a stream. A plain object, stored as it is:
 *
 *   parts   [{type, text, tokens, ms}]: text, thinking, tool_call and tool_result in their order; `ms` is how
 *           long thinking took
 *   tokens of a part  [{text, logprob, top: [[text, logprob], ...]}], log-probabilities in nats
 *   reason  why it ended: stop, stop_string, length, context, cancelled (stopped here), error; "" until then
 *   error   what went wrong, {kind, message}
 *   numContext  tokens of the prompt and the answer, with those that the calculator wrote
 *   model, seed, usage {prompt_tokens, completion_tokens}, firstMs, totalMs (since it was asked for)
 */

import { newId } from "./dom.js";

export function newAnswer(model) {
  return {
    ...{ id: newId(), role: "assistant", parts: [], children: [], chosen: 0 },
    ...{ model, reason: "", error: null, seed: null, usage: null, numContext: null, firstMs: null, totalMs: null },
  };
}

/** Take a chunk of a stream (docs/server.md), `ms` milliseconds after the answer was asked for. */
export function take(answer, chunk, ms) {
  if (chunk.usage) answer.usage = chunk.usage;
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const { delta = {}, logprobs } = choice;
  const call = delta.picochat?.tool_call;
  if (delta.content || delta.reasoning_content || call) {
    answer.firstMs ??= ms;
    answer.totalMs = ms;
  }
  if (delta.reasoning_content)
    extend(answer, "thinking", delta.reasoning_content, logprobs?.reasoning_content, ms);
  if (delta.content) extend(answer, "text", delta.content, logprobs?.content, ms);
  if (call) {
    answer.parts.push({ type: "tool_call", text: call.expression });
    if (call.result != null) answer.parts.push({ type: "tool_result", text: call.result });
  }
  if (choice.finish_reason) {
    answer.reason = choice.picochat?.reason ?? choice.finish_reason;
    answer.seed = choice.picochat?.seed ?? null;
    answer.numContext = choice.picochat?.num_context ?? null;
    answer.totalMs = ms;
  }
}

function extend(answer, type, text, logprobs, ms) {
  let part = answer.parts.at(-1);
  if (part?.type !== type) {
    part = { type, text: "", tokens: [], began: ms, ms: 0 };
    answer.parts.push(part);
  }
  part.text += text;
  part.ms = ms - part.began;
  for (const { token, logprob, top_logprobs = [] } of logprobs ?? []) {
    part.tokens.push({
      text: token,
      logprob,
      top: top_logprobs.map((other) => [other.token, other.logprob]),
    });
  }
}

/** Whether there is anything to see. */
export function isEmpty(answer) {
  return !answer.parts.some((part) => part.text || part.type === "tool_result");
}

/** Tokens that have come so far; the server's own count where it has told one. */
export function numTokens(answer) {
  if (answer.usage) return answer.usage.completion_tokens;
  return answer.parts.reduce((sum, part) => sum + (part.tokens?.length ?? 0), 0);
}

/** Tokens a second since the first one, or null while that says nothing. */
export function tokensPerSecond(answer) {
  const seconds = (answer.totalMs - answer.firstMs) / 1000;
  const count = numTokens(answer);
  return answer.firstMs === null || count < 2 || seconds <= 0 ? null : (count - 1) / seconds;
}

const REASONS = {
  length: "The limit of tokens was reached.",
  context: "The model's context is full.",
  cancelled: "Stopped.",
  "": "Interrupted: the page was closed while the model wrote.",
};

/** Why an answer ends where it does, if that is worth a word. */
export function endingOf(answer) {
  return REASONS[answer.reason] ?? "";
}
