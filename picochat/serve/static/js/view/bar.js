/** The bar above the chat: which model answers, the title, the theme. And what keeps the models away. */

import { byId, h } from "../dom.js";
import { icon } from "../icons.js";
import { Kept } from "../kept.js";
import { nameOf } from "../tree.js";
import { visible } from "../visible.js";

const THEMES = [
  { name: "system", label: "Theme: as the system" },
  { name: "light", label: "Theme: light", image: "sun" },
  { name: "dark", label: "Theme: dark", image: "moon" },
];
const kept = new Kept("localStorage", "picochat.theme");

export class Bar {
  constructor(app) {
    this.app = app;
    this.picker = byId("model");
    this.picker.addEventListener("change", () => {
      app.set({ model: this.picker.value });
      app.emit("models");
    });
    byId("theme").addEventListener("click", () => this.#nextTheme());
    app.addEventListener("models", () => this.#drawModels());
    for (const name of ["conversation", "list"]) app.addEventListener(name, () => this.#drawTitle());
    this.#drawTheme(document.documentElement.dataset.theme ?? "system");
  }

  #drawModels() {
    const { models, model, trouble } = this.app;
    this.picker.replaceChildren(...models.map(({ id }) => h("option", { value: id }, visible(id))));
    if (!models.length) this.picker.append(h("option", {}, "no model"));
    if (model) this.picker.value = model.id;
    this.picker.disabled = models.length < 2;
    const notice = byId("notice");
    notice.hidden = !trouble;
    notice.replaceChildren(...(trouble ? this.#troubleNote(trouble) : []));
  }

  #troubleNote({ kind, message }) {
    if (kind === "gone") return [h("p", {}, message, " The page goes on as soon as it does.")];
    if (kind !== "key") {
      const again = { type: "button", class: "plain", onclick: () => this.app.findModels() };
      return [h("p", {}, visible(message)), h("button", again, "Try again")];
    }
    const field = h("input", {
      type: "password",
      "aria-label": "API key",
      placeholder: "API key",
      autocomplete: "off",
    });
    const onsubmit = (event) => {
      event.preventDefault();
      this.app.useKey(field.value).then(() => byId("prompt").focus());
    };
    return [
      h(
        "form",
        { onsubmit },
        h("p", {}, message),
        field,
        h("button", { type: "submit", class: "primary" }, "Use it"),
      ),
    ];
  }

  #drawTitle() {
    const { current } = this.app;
    const name = visible(nameOf(current));
    byId("title").textContent = name;
    document.title = current.root.children.length ? `${name} · picochat` : "picochat";
  }

  #nextTheme() {
    const shown = document.documentElement.dataset.theme ?? "system";
    const next = THEMES[(THEMES.findIndex(({ name }) => name === shown) + 1) % THEMES.length].name;
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    kept.set(next);
    this.#drawTheme(next);
  }

  #drawTheme(shown) {
    const theme = THEMES.find(({ name }) => name === shown);
    const button = byId("theme");
    button.replaceChildren(icon(theme.image ?? "system"));
    button.title = theme.label;
    button.setAttribute("aria-label", theme.label);
  }
}
