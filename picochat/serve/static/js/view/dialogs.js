/** The one dialog of the page: questions to confirm, and the list of shortcuts. */

import { byId, h } from "../dom.js";
import { SHORTCUTS } from "../keyboard.js";

/** Ask; true if the user says yes. */
export function confirmed(question, yes) {
  const confirm = h("button", { type: "submit", class: "primary danger", value: "yes" }, yes);
  const cancel = h("button", { type: "submit", class: "plain", value: "" }, "Cancel");
  return show(h("h2", { id: "dialog-title" }, question), h("p", { class: "cures" }, confirm, cancel)).then(
    (value) => value === "yes",
  );
}

/** Show the shortcuts; `isOn` and `onToggle` are those of the keys that are single letters. */
export function showShortcuts(isOn, onToggle) {
  const rows = SHORTCUTS.map(({ keys, does }) =>
    h(
      "tr",
      {},
      h(
        "td",
        {},
        keys.map((key) => h("kbd", {}, key)),
      ),
      h("td", {}, does),
    ),
  );
  const box = h("input", { type: "checkbox", onchange: () => onToggle(box.checked) });
  box.checked = isOn;
  return show(
    h("h2", { id: "dialog-title" }, "Keyboard"),
    h("table", { class: "shortcuts" }, h("tbody", {}, rows)),
    h("label", { class: "check" }, box, "Single keys work while no field is being typed in"),
    h("p", { class: "cures" }, h("button", { type: "submit", class: "primary" }, "Close")),
  );
}

/** Show a dialog; resolves to the value of the button that closed it, "" for Escape. */
function show(...children) {
  const dialog = byId("dialog");
  dialog.replaceChildren(h("form", { method: "dialog" }, children));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
