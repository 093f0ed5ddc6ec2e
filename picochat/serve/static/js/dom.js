/** Making elements. The only place where the page builds DOM from strings, and strings become text. */

/**
 * Make an element.
 *
 * `attributes`: `onclick` and the like are listeners, `true` and `false` are set or left out, the rest become
 * attributes. Children that are strings become text nodes; null and false are left out.
 *
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new random id. `crypto.randomUUID` is missing where the page came over plain http from elsewhere. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Call `action` once in the next frame, however often the returned function is called before. */
export function eachFrame(action) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    const run = () => {
      if (!isWaiting) return;
      isWaiting = false;
      action();
    };
    requestAnimationFrame(run);
    // A page in the background gets no frames.
    setTimeout(run, 250);
  };
}
