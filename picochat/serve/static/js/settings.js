/** What the user has set for all conversations: how tokens are chosen, and how the page looks. */

import { Kept } from "./kept.js";

/**
 * The sampling options. `low` and `high` are the server's bounds, `to` the end of the slider; an option that
 * `mayBeEmpty` is left out of the request then.
 */
export const OPTIONS = [
  {
    ...{ name: "temperature", label: "Temperature", initial: 0.8, low: 0, high: 100, to: 2, step: 0.05 },
    help: "Under 1 bolder, over 1 more even. 0 always takes the likeliest token.",
  },
  {
    ...{ name: "top_k", label: "Top-k", initial: 50, low: 0, high: 1_000_000, to: 200, step: 1 },
    help: "Draw among the k likeliest tokens. 0 draws among all.",
  },
  {
    ...{ name: "top_p", label: "Top-p", initial: 1, low: 0.01, high: 1, to: 1, step: 0.01 },
    help: "Draw among the fewest tokens that together have this probability. 1 is off.",
  },
  {
    ...{ name: "min_p", label: "Min-p", initial: 0, low: 0, high: 1, to: 1, step: 0.01 },
    help: "Leave out tokens under this share of the likeliest one's probability. 0 is off.",
  },
  {
    ...{
      name: "repetition_penalty",
      label: "Repetition penalty",
      initial: 1,
      low: 0.01,
      high: 100,
      to: 2,
      step: 0.05,
    },
    help: "Over 1: tokens that the answer already holds become less likely. 1 is off.",
  },
  {
    ...{ name: "max_tokens", label: "Max tokens", initial: 256, low: 1, high: 100_000, to: 1024, step: 1 },
    help: "Tokens that the model may write in one answer.",
  },
  {
    ...{
      name: "thinking_budget",
      label: "Thinking budget",
      initial: null,
      low: 0,
      high: 100_000,
      to: 512,
      step: 1,
    },
    ...{ mayBeEmpty: true, empty: "no limit" },
    help: "Tokens that the model may think before it is told to answer.",
  },
  {
    ...{ name: "seed", label: "Seed", initial: null, low: 0, high: Number.MAX_SAFE_INTEGER, step: 1 },
    ...{ mayBeEmpty: true, empty: "new each time" },
    help: "The same seed and the same question give the same answer.",
  },
];

const kept = new Kept("localStorage", "picochat.settings");

function defaults() {
  return {
    sampling: Object.fromEntries(OPTIONS.map((option) => [option.name, option.initial])),
    model: "",
    shortcuts: true,
    optionsOpen: false,
    historyOpen: true,
  };
}

/** The settings as they were left; what is damaged or out of bounds is as at the beginning. */
export function loadSettings() {
  const settings = defaults();
  let stored;
  try {
    stored = JSON.parse(kept.get()) ?? {};
  } catch {
    return settings;
  }
  for (const option of OPTIONS) {
    const value = stored.sampling?.[option.name];
    if (problemWith(option, value) === "") settings.sampling[option.name] = value;
  }
  for (const name of ["model", "shortcuts", "optionsOpen", "historyOpen"]) {
    if (typeof stored[name] === typeof settings[name]) settings[name] = stored[name];
  }
  return settings;
}

export function saveSettings(settings) {
  kept.set(JSON.stringify(settings));
}

/** What is wrong with a value of an option, "" if nothing. */
export function problemWith(option, value) {
  if (value === null && option.mayBeEmpty) return "";
  const isNumber = typeof value === "number" && Number.isFinite(value);
  if (
    !isNumber ||
    value < option.low ||
    value > option.high ||
    (option.step === 1 && !Number.isInteger(value))
  ) {
    const kind = option.step === 1 ? "A whole number" : "A number";
    return `${kind} from ${option.low} to ${option.high}${option.mayBeEmpty ? ", or nothing" : ""}.`;
  }
  return "";
}

/** The options as fields of a request. */
export function samplingFields(settings) {
  return Object.fromEntries(Object.entries(settings.sampling).filter(([, value]) => value !== null));
}
