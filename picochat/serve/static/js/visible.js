/** Text of models and users made safe to look at: what would hide or reorder text is shown instead. */

// Control characters but tab and line feed; line and paragraph separators; marks that turn the direction of
// what follows; characters without width, but for the joiners that emoji and many scripts need.
const UNSAFE =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** `text` with every such character replaced by its picture (U+001B: ␛) or its number (⟨U+202E⟩). */
export function visible(text) {
  return text.replace(UNSAFE, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** A token by itself: its blanks and line breaks are shown too. */
export function visibleToken(text) {
  return visible(text).replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
}
