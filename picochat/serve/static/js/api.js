/** The server's interface (docs/server.md), and its errors in words. */

import { Kept } from "./kept.js";
import { eventsOf } from "./sse.js";

/** What went wrong. `kind`: gone, cut, key, busy, context, timeout or refused. */
export class ApiError extends Error {
  constructor(kind, message, retryAfter = 0) {
    super(message);
    this.kind = kind;
    /** Seconds after which the server asks to be tried again. */
    this.retryAfter = retryAfter;
  }
}

/** The key for the server; it is forgotten with the tab. */
export const apiKey = new Kept("sessionStorage", "picochat.key");

/** The models that are served. */
export async function listModels() {
  const response = await request("v1/models");
  return (await response.json()).data;
}

/** Whether the server answers at all. */
export async function isAlive() {
  try {
    return (await fetch("health", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** Ask for an answer; yield the chunks of its stream. An abort of `signal` ends it with an AbortError. */
export async function* streamChat(body, signal) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  let isDone = false;
  try {
    for await (const data of eventsOf(response.body)) {
      isDone = data === "[DONE]";
      if (isDone) break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw inWords(500, chunk.error);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof ApiError || signal?.aborted) throw error;
    throw new ApiError("cut", "The connection broke off before the answer was complete.");
  }
  if (!isDone) throw new ApiError("cut", "The connection ended before the answer was complete.");
}

async function request(path, options = {}) {
  const key = apiKey.get();
  // The browser itself refuses to send some of them, which would look like a server that is gone.
  if (key && /[^\x21-\x7e]/.test(key)) throw new ApiError("key", "The key holds characters that no key has.");
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError("gone", "The server does not answer. Is picochat serve still running?");
  }
  if (response.ok) return response;
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // Not from picochat: a proxy in between, perhaps. The status has to do.
  }
  throw inWords(response.status, error, Number(response.headers.get("Retry-After")));
}

/** An error of the server's as something to show. */
export function inWords(status, { message = "", code = "" }, retryAfter = 0) {
  if (status === 401) return new ApiError("key", "The server asks for its API key.");
  if (status === 503) {
    return new ApiError("busy", "The server is busy: its queue is full.", retryAfter || 2);
  }
  if (code === "context_length_exceeded") {
    return new ApiError("context", "The conversation is too long for the model's context.");
  }
  if (code === "timeout") {
    return new ApiError("timeout", "The server gave up: the answer was not complete within its time limit.");
  }
  return new ApiError("refused", message || `The server refused the request (status ${status}).`);
}
