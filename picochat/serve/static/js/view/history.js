/** The list of conversations: search, open, rename, delete. */

import { byId, h } from "../dom.js";
import { save, toJsonl } from "../export.js";
import { icon } from "../icons.js";
import { holds, nameOf } from "../tree.js";
import { visible } from "../visible.js";
import { confirmed } from "./dialogs.js";
import { toast } from "./toast.js";

export class History {
  #renaming = null;

  constructor(app, drawers) {
    this.app = app;
    this.drawers = drawers;
    this.list = byId("conversations");
    this.search = byId("search");
    for (const name of ["list", "conversation"]) app.addEventListener(name, () => this.#draw());
    this.search.addEventListener("input", () => this.#draw());
    byId("new").addEventListener("click", () => this.#startNew());
    byId("export-all").addEventListener("click", () =>
      save("conversations.jsonl", toJsonl(app.conversations)),
    );
    byId("delete-all").addEventListener("click", () => this.#deleteAll());
  }

  #startNew() {
    this.app.startNew();
    this.drawers.closeOverlay();
    byId("prompt").focus();
  }

  #draw() {
    // A name that is being typed must not go away because an answer was saved meanwhile.
    if (this.#renaming?.isConnected) return;
    const focused = document.activeElement?.closest?.("#conversations li");
    const place = focused ? [...this.list.children].indexOf(focused) : -1;
    const found = this.app.conversations.filter((conversation) => holds(conversation, this.search.value));
    this.list.replaceChildren(...found.map((conversation) => this.#row(conversation)));
    if (!found.length) {
      const text = this.search.value.trim()
        ? "No conversation holds these words."
        : "Conversations are kept here, in this browser.";
      this.list.append(h("li", { class: "none" }, text));
    }
    byId("export-all").disabled = byId("delete-all").disabled = !this.app.conversations.length;
    if (!focused) return;
    const row = this.list.querySelector(`[data-id="${focused.dataset.id}"]`) ?? this.list.children[place];
    (row?.querySelector(".open") ?? this.search).focus();
  }

  #row(conversation) {
    const name = visible(nameOf(conversation));
    const isCurrent = conversation.id === this.app.current.id;
    const open = h(
      "button",
      {
        ...{ type: "button", class: "open", title: name, "aria-current": isCurrent ? "page" : null },
        onclick: () => (this.app.open(conversation), this.drawers.closeOverlay()),
      },
      h("span", { class: "name", dir: "auto" }, name),
      this.app.running.has(conversation.id) &&
        h("span", { class: "dot", role: "img", "aria-label": "being answered" }),
    );
    const tool = (label, image, onclick) =>
      h(
        "button",
        {
          type: "button",
          class: "icon-button small",
          title: label,
          "aria-label": `${label}: ${name}`,
          onclick,
        },
        icon(image),
      );
    const row = h(
      "li",
      { "data-id": conversation.id, class: isCurrent ? "is-current" : "" },
      open,
      tool("Rename", "edit", () => this.#rename(conversation, row)),
      tool("Delete", "trash", () => this.#delete(conversation)),
    );
    return row;
  }

  #rename(conversation, row) {
    const field = h("input", { type: "text", "aria-label": "Name of the conversation", maxlength: "120" });
    field.value = nameOf(conversation);
    let isOver = false;
    const finish = (isKept) => {
      if (isOver) return;
      isOver = true;
      this.#renaming = null;
      if (isKept && field.value.trim() !== nameOf(conversation)) this.app.rename(conversation, field.value);
      this.#draw();
      this.list.querySelector(`[data-id="${conversation.id}"] .open`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      finish(event.key === "Enter");
    });
    field.addEventListener("blur", () => finish(true));
    row.replaceChildren(field);
    this.#renaming = field;
    field.select();
  }

  async #delete(conversation) {
    const name = nameOf(conversation);
    const restore = await this.app.delete([conversation]);
    toast(`“${visible(name)}” is deleted.`, { label: "Undo", onclick: restore });
  }

  async #deleteAll() {
    const count = this.app.conversations.length;
    const what = count === 1 ? "the conversation" : `all ${count} conversations`;
    const question = `Delete ${what} kept in this browser?`;
    if (!(await confirmed(question, "Delete"))) return;
    const restore = await this.app.delete([...this.app.conversations]);
    toast("All conversations are deleted.", { label: "Undo", onclick: restore });
  }
}
