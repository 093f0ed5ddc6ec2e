/** The panel of options: model, system prompt, sampling, the conversation, access. */

import { apiKey } from "../api.js";
import { byId, h } from "../dom.js";
import { fileName, save, toJsonl, toMarkdown } from "../export.js";
import { icon } from "../icons.js";
import { OPTIONS, problemWith } from "../settings.js";
import { visible } from "../visible.js";
import { showShortcuts } from "./dialogs.js";

export class OptionsPanel {
  #rows;

  constructor(app) {
    this.app = app;
    this.#rows = OPTIONS.map((option) => new OptionRow(option, app));
    this.model = h("p", { class: "soft" });
    this.system = h("textarea", {
      ...{ id: "system", rows: "3", placeholder: "None", spellcheck: "false" },
      onchange: () => app.setSystem(this.system.value),
    });
    this.truncate = h("input", { type: "checkbox", onchange: () => app.setTruncate(this.truncate.checked) });
    this.access = h("section", { hidden: true });
    byId("options").append(...this.#sections());
    app.addEventListener("settings", () => this.#update());
    app.addEventListener("models", () => this.#update());
    app.addEventListener("conversation", () => this.#update());
    this.#update();
  }

  #sections() {
    const close = {
      type: "button",
      class: "icon-button close",
      "data-close": "options",
      "aria-label": "Close options",
    };
    const reset = { type: "button", class: "quiet", onclick: () => this.#reset() };
    const keys = { type: "button", class: "quiet", onclick: () => this.showShortcuts() };
    const download = (label, ending) => {
      const onclick = () => this.exportAs(ending);
      return h("button", { type: "button", class: "plain", onclick }, icon("download"), label);
    };
    return [
      h("div", { class: "side-head" }, h("h2", {}, "Options"), h("button", close, icon("close"))),
      h("section", {}, h("h3", {}, "Model"), this.model),
      h(
        "section",
        {},
        h("h3", {}, h("label", { for: "system" }, "System prompt")),
        this.system,
        h("p", { class: "soft" }, "Read before the conversation, in this conversation only."),
      ),
      h(
        "section",
        { "aria-label": "Sampling" },
        h("div", { class: "row" }, h("h3", {}, "Sampling"), h("button", reset, "Reset all")),
        this.#rows.map((row) => row.element),
      ),
      h(
        "section",
        {},
        h("h3", {}, "This conversation"),
        h("label", { class: "check" }, this.truncate, "Leave out the oldest turns when the context is full"),
        h("div", { class: "row wrap" }, download("Markdown", "md"), download("JSONL for SFT", "jsonl")),
      ),
      this.access,
      h("section", {}, h("button", keys, icon("keyboard"), "Keyboard shortcuts")),
    ];
  }

  /** Save the conversation as a file. */
  exportAs(ending) {
    const { current } = this.app;
    const text = ending === "md" ? toMarkdown(current) : toJsonl([current]);
    if (!current.root.children.length || !text) {
      this.app.emit("message", "There is nothing to export yet; ask something first.");
    } else {
      save(fileName(current, ending), text);
    }
  }

  showShortcuts() {
    return showShortcuts(this.app.settings.shortcuts, (isOn) => this.app.set({ shortcuts: isOn }));
  }

  #reset() {
    this.app.set({ sampling: Object.fromEntries(OPTIONS.map(({ name, initial }) => [name, initial])) });
  }

  #update() {
    const { app } = this;
    for (const row of this.#rows) row.update();
    if (document.activeElement !== this.system) this.system.value = app.current.system;
    this.truncate.checked = Boolean(app.current.truncate);
    this.model.replaceChildren(describe(app.model));
    if (this.access.hidden && (apiKey.get() || app.trouble?.kind === "key")) this.#showAccess();
  }

  #showAccess() {
    const field = h("input", { type: "password", id: "key", autocomplete: "off", spellcheck: "false" });
    field.value = apiKey.get();
    field.addEventListener("change", () => this.app.useKey(field.value));
    const label = h("h3", {}, h("label", { for: "key" }, "API key"));
    this.access.append(label, field, h("p", { class: "soft" }, "Kept until this tab is closed."));
    this.access.hidden = false;
  }
}

/** A model in a line. */
function describe(model) {
  if (!model) return "None yet.";
  const facts = [
    visible(model.id),
    model.num_parameters && `${(model.num_parameters / 1e6).toFixed(1)} M parameters`,
    model.context_length && `${model.context_length} tokens of context`,
    model.int8 && "int8",
    {
      pretrain: "pretrained only: it knows no conversations",
      sft: "fine-tuned",
      grpo: "practised with GRPO",
    }[model.stage],
  ];
  return facts.filter(Boolean).join(", ");
}

/** One option: its slider, its field, and the way back to where it began. */
class OptionRow {
  constructor(option, app) {
    this.option = option;
    this.app = app;
    const id = `option-${option.name}`;
    const described = { "aria-describedby": `${id}-help` };
    this.field = h("input", {
      ...{ ...described, id, type: "number", inputmode: "decimal", placeholder: option.empty ?? "" },
      ...{
        min: option.low,
        max: option.high,
        step: option.step === 1 ? 1 : "any",
        class: option.mayBeEmpty ? "wide" : "",
      },
      onchange: () => this.#set(this.field.value === "" ? null : Number(this.field.value)),
    });
    this.slider =
      option.to &&
      h("input", {
        ...{
          ...described,
          type: "range",
          min: option.low === 0.01 ? 0 : option.low,
          max: option.to,
          step: option.step,
        },
        ...{ "aria-label": option.label },
        oninput: () => this.#set(Math.max(option.low, Number(this.slider.value))),
      });
    this.reset = h(
      "button",
      {
        ...{
          type: "button",
          class: "icon-button small",
          title: "Reset",
          "aria-label": `Reset ${option.label}`,
        },
        onclick: () => (this.app.setSampling(option.name, option.initial), this.field.focus()),
      },
      icon("again"),
    );
    this.help = h("p", { class: "soft", id: `${id}-help` }, option.help);
    this.element = h(
      "div",
      { class: "option" },
      h("div", { class: "row" }, h("label", { for: id }, option.label), this.reset, this.field),
      this.slider,
      this.help,
    );
  }

  update() {
    const value = this.app.settings.sampling[this.option.name];
    this.field.value = value ?? "";
    // An empty budget is no limit: the slider stands at its end.
    if (this.slider) this.slider.value = value ?? this.option.to;
    this.reset.hidden = value === this.option.initial;
    this.#complain("");
  }

  #set(value) {
    const isBad = this.field.validity.badInput || (value === null && !this.option.mayBeEmpty);
    const problem = isBad ? problemWith(this.option, NaN) : problemWith(this.option, value);
    if (problem) this.#complain(problem);
    else this.app.setSampling(this.option.name, value);
  }

  #complain(problem) {
    this.field.setAttribute("aria-invalid", Boolean(problem));
    this.help.textContent = problem || this.option.help;
    this.help.classList.toggle("problem", Boolean(problem));
  }
}
