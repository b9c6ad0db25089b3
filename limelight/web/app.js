// The page: one state, what is known about it, and the parts that read, draw and change them.
import { acts, fitting } from "./acts.js";
import { CARDS } from "./cards.js";
import { doors } from "./doors.js";
import { fill, h } from "./dom.js";
import { drawing, fit } from "./drawing.js";
import { EXAMPLES } from "./examples.js";
import { frame } from "./frame.js";
import { keys } from "./keys.js";
import { sliders } from "./next.js";
import * as q from "./question.js";
import { reading } from "./reading.js";
import * as address from "./state.js";
import { talk } from "./talk.js";
import { work } from "./work.js";

// source: where data comes from, see live.js and saved.js.
//
// app.state is what the address says (state.js); app.now is what is known by now: the open model, the text cut into
// words (`shown`, of which `given` are the visitor's), the word that the model says next (`ahead`), what it wrote
// behind it (`added`, token by token in `steps`), the answer (`importance`), what could stand there (`next`), and what
// every word owes to those before it (`crossed`). question.js tells what both mean; reading.js fills `now`; drawing.js
// shows it; acts.js are the things that a visitor can do.
export function start(root, source) {
  const state = source.state ?? address.read(location.hash);
  const now = { model: null, title: null, shown: q.plain(state.text), given: 0, tail: "", added: "", ahead: "", steps: [], importance: null, next: null, crossed: null, progress: { note: "Opening the model" }, error: null, hovered: null };
  const app = { root, source, state, now, parts: frame(root, source) };
  app.work = work(state, (message) => {
    now.error = message;
    now.progress = null;
    app.draw.answer();
  });
  app.draw = drawing(app);
  app.flow = reading(app);
  app.act = acts(app);
  app.talk = talk(app);
  app.open = () => open(app);
  listen(app);
  app.draw.mode();
  app.draw.all();
  app.work.attempt(async () => {
    const { models, first } = await source.models();
    now.models = models;
    const chosen = models.find((model) => model.name === state.model)?.name ?? first;
    fill(app.parts.models, models.map((model) => h("option", { value: model.name, selected: model.name === chosen }, `${model.title.replace(/ \([^)]*\)$/, "") || short(model.name)}${model.here || model.name === first ? "" : " (fetched when chosen)"}`)));
    await app.open();
  });
}

const short = (name) => name.split(/[\\/]/).filter(Boolean).pop().replace(/\.(gguf|safetensors|bin|pth?)$/, "");

// Opens the chosen model, and reads the text by it.
async function open(app) {
  const { state, now, source, parts, work, draw } = app;
  await work.attempt(async () => {
    work.abandon();
    Object.assign(now, { error: null, model: null, aligned: null, progress: { note: "Opening the model", total: 0 } });
    draw.answer();
    const tell = (progress) => {
      now.progress = { ...progress, note: `Opening ${state.model ?? parts.models.value}: ${progress.note}` };
      draw.answer();
    };
    now.model = await source.open(state.model ?? parts.models.value, tell, work.signal("open"));
    now.title = parts.models.selectedOptions[0]?.textContent;
    parts.doors.querySelectorAll("button").forEach((button) => (button.hidden = !fitting(app).some((door) => door.name === button.dataset.door)));
    parts.doors.querySelectorAll(".door:not([hidden]) b").forEach((number, i) => (number.textContent = i + 1));
    parts.lessonButton.hidden = !source.live || !fitting(app).some((door) => door.plays);
    fill(parts.beside, h("option", { value: "" }, "nothing"), fitting(app).map((door) => h("option", { value: door.name }, door.title)));
    const writes = !q.translates(app) && !q.reads(app);
    parts.measured.hidden = q.translates(app);
    parts.drawing.hidden = !writes;
    [parts.tokensButton, parts.againButton, parts.examples].forEach((part) => (part.hidden = !source.live || !writes));
    parts.compareButton.hidden = !source.live || !fitting(app).some((door) => door.name === "what-if");
    parts.other.hidden = !q.reads(app)?.beside;
    parts.otherName.textContent = q.reads(app)?.beside ?? "";
    parts.otherBox.value = q.beside(app);
    const methods = now.model.methods.map(({ name, title }) => h("option", { value: name }, title));
    fill(parts.methods, methods.length > 1 && h("option", { value: "" }, "default"), methods);
    draw.mode();
    if (q.talks(app)) app.talk.read();
    else await app.flow.read();
  });
}

// What the visitor does with the page's parts.
function listen(app) {
  const { state, now, source, parts, act, draw, flow } = app;
  parts.box.addEventListener("input", () => {
    fit(parts.box);
    if (!q.talks(app)) act.type(parts.box.value);
  });
  parts.box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    act.enter(parts.box.value);
  });
  parts.composer.addEventListener("submit", (event) => {
    event.preventDefault();
    act.enter(parts.box.value);
  });
  parts.box.addEventListener("blur", () => draw.composer());
  fill(parts.examples, "Try ", EXAMPLES.map((one) => [h("button", { class: "example", title: one.says, onclick: () => act.example(one) }, one.name), " "]).flat());
  parts.askIt.addEventListener("click", () => act.say(state.text));
  parts.insist.addEventListener("click", () => act.mode("continue"));
  parts.anew.addEventListener("click", () => app.talk.clear());
  parts.modes.addEventListener("click", ({ target }) => target.matches("button") && act.mode(target.value || null));
  parts.sentence.addEventListener("click", (event) => event.target.closest(".word") || act.edit());
  parts.sentence.addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), act.edit()));
  parts.tokensButton.addEventListener("click", act.tokens);
  parts.compareButton.addEventListener("click", act.compare);
  parts.againButton.addEventListener("click", act.again);
  parts.models.addEventListener("change", () => act.model(parts.models.value));
  parts.methods.addEventListener("change", () => act.method(parts.methods.value || null));
  parts.other.addEventListener("submit", (event) => {
    event.preventDefault();
    act.other(parts.otherBox.value.trim() || null);
  });
  parts.otherBox.addEventListener("change", () => act.other(parts.otherBox.value.trim() || null));
  parts.beside.addEventListener("change", () => act.beside(parts.beside.value));
  parts.themeButton.addEventListener("click", act.theme);
  parts.helpButton.addEventListener("click", act.help);
  parts.shareButton.addEventListener("click", act.share);
  parts.saveButton.addEventListener("click", act.save);
  parts.lessonButton.addEventListener("click", () => act.lesson([]));
  parts.codeButton.addEventListener("click", act.snippet);
  parts.whynot.addEventListener("submit", (event) => {
    event.preventDefault();
    const foil = parts.whynot.elements.foil.value.trim();
    if (foil) act.foil(foil);
  });
  const opens = (door, name, ...inside) => h("button", { class: name, "data-door": door.name, "aria-expanded": "false", onclick: () => act.door(door.name), title: door.says }, inside);
  fill(
    parts.doors,
    h("div", { class: "deck", role: "group", "aria-label": "How it works, in six cards" }, CARDS.map((one) => opens(one, "deck-card", one.title))),
    h("div", { class: "inside", role: "group", "aria-label": "Inside the model" }, doors.map((door, i) => opens(door, "door", h("b", {}, i + 1), door.title)), parts.lessonButton, h("label", { class: "beside" }, "beside it ", parts.beside)),
  );
  sliders(parts.sliders, state, act, source.live);
  keys(document, act, doors);
  window.addEventListener("resize", () => (draw.sentence(), draw.door()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw.door());
  window.addEventListener("popstate", () => {
    if (!source.live) return;
    const before = { ...state };
    Object.assign(state, address.read(location.hash));
    draw.mode();
    if (before.model !== state.model) app.open();
    else if (q.talks(app)) app.talk.read();
    else if (before.mode !== state.mode) flow.read();
    else if (before.text !== state.text || before.other !== state.other || before.tokens !== state.tokens) flow.read();
    else if (before.word !== state.word || before.foil !== state.foil || before.method !== state.method) flow.askAndCheck();
    draw.door();
  });
}
