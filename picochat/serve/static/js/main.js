/** Puts the page together. */

import { App } from "./app.js";
import { byId } from "./dom.js";
import { addIcons } from "./icons.js";
import { listen } from "./keyboard.js";
import { Bar } from "./view/bar.js";
import { Composer } from "./view/composer.js";
import { Drawers } from "./view/drawers.js";
import { Empty } from "./view/empty.js";
import { History } from "./view/history.js";
import { OptionsPanel } from "./view/options.js";
import { toast } from "./view/toast.js";
import { hideCard } from "./view/tokens.js";
import { Transcript } from "./view/transcript.js";

addIcons(document);
const app = new App();
const drawers = new Drawers(app);
const transcript = new Transcript(app);
const composer = new Composer(app, transcript);
const options = new OptionsPanel(app);
new Bar(app);
new Empty(app, composer);
new History(app, drawers);

app.addEventListener("message", ({ detail }) => toast(detail));
byId("show-help").addEventListener("click", () => options.showShortcuts());

const singles = {
  "/": () => composer.focus(),
  n: () => byId("new").click(),
  r: () => transcript.act("again", "assistant"),
  e: () => transcript.act("edit", "user"),
  "[": () => transcript.act("before", "assistant"),
  "]": () => transcript.act("after", "assistant"),
  p: () => transcript.walkTokens(),
  s: () => (drawers.open("history"), byId("search").focus()),
  o: () => drawers.toggle("options"),
  "?": () => options.showShortcuts(),
};
listen(singles, () => app.settings.shortcuts, onEscape);

function onEscape() {
  hideCard();
  if (drawers.closeOverlay()) return;
  app.stop();
}

await app.start();
// On a phone the keyboard would cover the page.
if (matchMedia("(hover: hover)").matches) composer.focus();
