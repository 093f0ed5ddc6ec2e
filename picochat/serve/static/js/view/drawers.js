/** The two side panels: beside the chat on a wide screen, over it on a narrow one. */

import { byId } from "../dom.js";

const PANELS = [
  { id: "history", button: "show-history", setting: "historyOpen", beside: "(min-width: 900px)" },
  { id: "options", button: "show-options", setting: "optionsOpen", beside: "(min-width: 1180px)" },
];

export class Drawers {
  /** The panel that lies over the chat, or null. */
  #over = null;

  constructor(app) {
    this.app = app;
    for (const panel of PANELS) {
      panel.media = matchMedia(panel.beside);
      panel.media.addEventListener("change", () => {
        if (this.#over === panel) this.#over = null;
        this.#draw();
      });
      byId(panel.button).addEventListener("click", () => this.toggle(panel.id));
    }
    document.addEventListener("click", (event) => {
      if (event.target.closest("[data-close]"))
        this.toggle(event.target.closest("[data-close]").dataset.close);
    });
    byId("backdrop").addEventListener("click", () => this.closeOverlay());
    this.#draw();
  }

  toggle(id) {
    const panel = PANELS.find((candidate) => candidate.id === id);
    const wasOpen = this.#isOpen(panel);
    if (panel.media.matches) this.app.set({ [panel.setting]: !wasOpen });
    else this.#over = wasOpen ? null : panel;
    this.#draw();
    if (wasOpen) byId(panel.button).focus();
    else if (!panel.media.matches) byId(id).querySelector("button").focus();
  }

  /** Open a panel if it is closed. */
  open(id) {
    if (!this.#isOpen(PANELS.find((panel) => panel.id === id))) this.toggle(id);
  }

  /** Close what lies over the chat; false if nothing does. */
  closeOverlay() {
    if (!this.#over) return false;
    this.toggle(this.#over.id);
    return true;
  }

  #isOpen(panel) {
    return panel.media.matches ? this.app.settings[panel.setting] : this.#over === panel;
  }

  #draw() {
    for (const panel of PANELS) {
      const isOpen = this.#isOpen(panel);
      const element = byId(panel.id);
      element.classList.toggle("is-open", isOpen);
      element.classList.toggle("is-over", this.#over === panel);
      element.inert = !isOpen || Boolean(this.#over && this.#over !== panel);
      byId(panel.button).setAttribute("aria-expanded", isOpen);
    }
    byId("backdrop").hidden = !this.#over;
    document.querySelector(".centre").inert = Boolean(this.#over);
  }
}
