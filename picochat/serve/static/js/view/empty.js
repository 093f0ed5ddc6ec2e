/** What an empty conversation shows: a greeting, and things that can be asked. */

import { byId, h } from "../dom.js";
import { icon } from "../icons.js";

/** What a model trained on the built-in world (picochat/data/builtin) can answer. */
const SUGGESTIONS = [
  { about: "A fact of the valley", text: "Where does Mara live?" },
  { about: "A sum with the calculator", text: "What is 47 * 23?" },
  {
    about: "A word problem",
    text: "Sam has 74 mugs and Fred has 20. How many more mugs does Sam have than Fred?",
  },
  { about: "A story", text: "Tell me a story about Tom." },
];

export class Empty {
  constructor(app, composer) {
    this.app = app;
    const ask = ({ about, text }) =>
      h(
        "button",
        { type: "button", class: "suggestion", onclick: () => composer.send(text) },
        h("span", { class: "about" }, about),
        h("span", {}, text),
      );
    this.stage = h("p", { class: "soft" });
    byId("empty").append(
      h("h2", {}, "What would you like to ask?"),
      h(
        "p",
        { class: "soft" },
        "A model trained on picochat’s built-in world knows the people of a small valley, " +
          "and works out sums with a calculator.",
      ),
      h("div", { class: "suggestions" }, SUGGESTIONS.map(ask)),
      h(
        "p",
        { class: "soft" },
        "Press ",
        h("span", { class: "inline-icon" }, icon("bars")),
        " below an answer to see how likely each of its words was.",
      ),
      this.stage,
    );
    for (const name of ["conversation", "models"]) app.addEventListener(name, () => this.#update());
  }

  #update() {
    byId("empty").hidden = this.app.current.root.children.length > 0;
    const isRaw = this.app.model?.stage === "pretrain";
    this.stage.textContent = isRaw
      ? "This model was only pretrained: it goes on with texts and knows no conversations."
      : "";
  }
}
