/** Shortcuts of the whole page. Single keys count only while nothing is typed, and can be switched off. */

/** What the list of shortcuts shows. */
export const SHORTCUTS = [
  { keys: ["Enter"], does: "send the message" },
  { keys: ["Shift", "Enter"], does: "new line in the message" },
  { keys: ["Esc"], does: "stop the answer; close what is open" },
  { keys: ["↑"], does: "in an empty message: edit the last question" },
  { keys: ["/"], does: "go to the message" },
  { keys: ["n"], does: "new conversation" },
  { keys: ["r"], does: "answer again" },
  { keys: ["e"], does: "edit the last question" },
  { keys: ["["], does: "version of the answer before" },
  { keys: ["]"], does: "next version of the answer" },
  { keys: ["p"], does: "token probabilities; arrow keys walk through them" },
  { keys: ["s"], does: "search the conversations" },
  { keys: ["o"], does: "options" },
  { keys: ["?"], does: "this list" },
];

function isTyping(element) {
  return Boolean(element?.closest("input, textarea, select, [contenteditable]"));
}

/**
 * Listen. `singles` maps a single key to what it does, `areSinglesOn()` says whether they count, and
 * `onEscape()` is called for Escape unless a dialog takes it.
 */
export function listen(singles, areSinglesOn, onEscape) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      onEscape();
      return;
    }
    // AltGr, with which some keyboards make brackets, looks like Ctrl and Alt.
    const isPlain = event.getModifierState("AltGraph") || !(event.ctrlKey || event.metaKey || event.altKey);
    const act = singles[event.key];
    if (!act || !isPlain || !areSinglesOn() || isTyping(event.target)) return;
    event.preventDefault();
    act();
  });
}
