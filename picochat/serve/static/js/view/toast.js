/** A short message at the foot of the page, gone by itself. */

import { byId, h } from "../dom.js";

const SHOWN_MS = 4000;
const SHOWN_WITH_ACTION_MS = 10_000;
let timer = 0;

/** Say something; `action`, {label, onclick}, is a button beside it. */
export function toast(text, action = null) {
  const box = byId("toast");
  const hide = () => {
    box.hidden = true;
  };
  const press = () => (hide(), action.onclick());
  box.replaceChildren(
    h("span", {}, text),
    ...(action ? [h("button", { type: "button", class: "plain", onclick: press }, action.label)] : []),
  );
  box.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(hide, action ? SHOWN_WITH_ACTION_MS : SHOWN_MS);
}
