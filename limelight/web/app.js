// What is on the screen: the sentence, the answer, what could stand there, and the doors to everything else.
import { answer } from "./answer.js";
import { doors } from "./doors.js";
import { fill, h, quoted } from "./dom.js";
import { keys } from "./keys.js";
import { likely, sliders } from "./next.js";
import { about, extend, sentence } from "./sentence.js";
import * as address from "./state.js";

const FEW = 60; // words whose picture comes about as soon as anything else
const PAUSE = 350; // milliseconds without a key before the sentence is read again

// source: where data comes from, see live.js and saved.js.
export function start(root, source) {
  const state = source.state ?? address.read(location.hash);
  const now = { model: null, shown: plain(state.text), given: 0, importance: null, next: null, progress: { note: "Opening the model" }, error: null, hovered: null };
  const parts = frame(root, source);
  const pending = {}; // what is under way, by name: asking anew ends it
  let pause; // until what is being typed or moved has come to rest
  const known = new Map(); // answers by question, so that coming back waits for nothing

  // --- the question ---------------------------------------------------------------------------------------------

  const translates = () => Boolean(now.model?.translates); // then what was added is the translation of what was given
  const word = () => Math.max(0, Math.min(state.word ?? (translates() ? telling(now.shown.words) : now.given - 1), now.shown.words.length - 1));
  const added = () => now.shown.words.length > now.given && (translates() || word() >= now.given);
  const tokens = () => state.tokens === 1 && !translates();
  const text = () => ({ given: state.text, added: added() ? now.added : "", tokens: tokens() });
  const everything = () => added() || !source.live; // what was added belongs to what is looked at
  const words = () => (everything() ? now.shown.words : now.shown.words.slice(0, now.given));
  const settings = () =>
    translates() // a translation is searched for and not drawn
      ? { temperature: 1, top_k: null, top_p: null, seed: 0 }
      : { temperature: state.temperature, top_k: state.k >= 50 ? null : state.k, top_p: state.p >= 1 ? null : state.p, seed: state.seed };

  function signal(name) {
    pending[name]?.abort();
    pending[name] = new AbortController();
    return pending[name].signal;
  }

  const abandon = () => Object.values(pending).forEach((one) => one.abort());

  // Runs one step of the work; what was abandoned ends in silence, anything else in a sentence on the screen.
  async function attempt(work) {
    try {
      await work();
    } catch (error) {
      if (error.name === "AbortError") return;
      now.error = error.message;
      now.progress = null;
      drawAnswer();
    }
  }

  async function remembered(key, find) {
    const name = JSON.stringify([state.model, ...key]);
    if (!known.has(name)) {
      const found = await find();
      if (known.size > 300) known.clear();
      known.set(name, found);
    }
    return known.get(name);
  }

  async function read() {
    Object.assign(now, { importance: null, next: null, error: null, added: source.added ?? "", progress: null });
    abandon();
    if (!state.text.trim()) {
      Object.assign(now, { shown: plain(""), given: 0 });
      return draw();
    }
    await attempt(async () => {
      const whole = { given: state.text, added: "", tokens: tokens() };
      const of = signal("words");
      now.shown = await remembered(["words", whole], () => source.words(whole, of));
      now.given = now.shown.words.filter((one) => one.given).length;
      draw();
      const later = source.live && (translates() || state.word >= now.given); // asked about a word still to be written
      if (!later) await ask(); // the answer first: all of it is computed by one machine
      of.throwIfAborted(); // by another sentence or another model
      await goOn();
    });
  }

  // Ends when the answer is there; the check of it may take longer and comes by itself.
  async function ask() {
    if (!now.shown.words.length || !now.model) return;
    Object.assign(now, { error: null, importance: null, progress: null });
    const asked = text();
    const place = word();
    const read = translates() && place < now.given; // a word of the source, which the model read and did not say
    const soon = words().length <= FEW; // then the picture comes first, else the likely words, which take far less
    now.next = null;
    showMethod();
    drawNext();
    if (!read && !soon) refreshNext();
    drawSentence();
    drawAnswer();
    const of = signal("importance");
    const tell = (progress) => {
      now.progress = progress;
      drawAnswer();
    };
    const find = (check) => remembered(["importance", asked, place, state.foil, state.method, check], () => source.importance(asked, place, state.foil, state.method, check, tell, of));
    const show = (found) => {
      now.importance = found;
      showMethod(found.method);
      drawSentence();
      drawAnswer();
      drawDoor();
    };
    await attempt(async () => {
      if (read) return show(onwards(place, (await remembered(["translation", asked], () => source.translation(asked, tell, of))).grid));
      const found = await find(false);
      show(found);
      if (!found.checked) find(true).then(show, (error) => attempt(() => Promise.reject(error)));
    });
    if (!read && soon && !of.aborted) refreshNext();
    if (place === 0) drawDoor(); // nothing stands before the first word, so no answer will come to draw it
  }

  // Shows which method is chosen, or where none is, what was `taken`.
  function showMethod(taken) {
    const [none] = parts.methods.options;
    if (none?.value !== "") return; // there is but one
    parts.methods.value = state.method ?? "";
    const title = now.model.methods.find(({ name }) => name === taken)?.title;
    none.text = title && !state.method ? `default: ${title}` : "default";
  }

  // How much a word of the source mattered for each word of the translation.
  function onwards(place, grid) {
    const values = now.shown.words.map((_, i) => (i < now.given ? undefined : grid[i - now.given][place]));
    return { word: place, kind: "importance", values, onwards: true, check: null, checked: true, telling: null };
  }

  function refreshNext() {
    attempt(async () => {
      const of = signal("next");
      const asked = text();
      const place = word();
      now.next = await remembered(["next", asked, place, settings()], () => source.next(asked, place, settings(), of));
      drawNext();
      if (state.door === "what-if") drawDoor(); // it sets them beside those of another sentence
    });
  }

  async function goOn() {
    if (!source.live || !state.text.trim() || !now.model) return;
    const of = signal("continue");
    const given = state.text;
    const key = JSON.stringify([state.model, "continue", given, settings()]);
    if (!known.has(key)) {
      let grown = "";
      const base = now.shown.base ?? now.shown;
      await source.go_on(given, settings(), (piece) => {
        grown += piece;
        now.shown = { ...base, tail: `${base.tail}${translates() ? "\n" : ""}${grown}`, base };
        extend(parts.sentence, now.shown.tail);
      }, of);
      known.set(key, grown);
    }
    now.added = known.get(key);
    const whole = { given, added: now.added, tokens: tokens() };
    const found = await remembered(["words", whole], () => source.words(whole, of));
    now.shown = translates() ? found : joined(now.shown.base ?? now.shown, found, now.added);
    drawSentence();
    if (translates() || state.word >= now.given) await ask();
  }

  // --- what can be done -----------------------------------------------------------------------------------------

  function go(change, { keep = false } = {}) {
    Object.assign(state, change);
    if (source.live) history[keep ? "replaceState" : "pushState"](null, "", address.write(state));
  }

  const act = {
    choose(i) {
      if (i < 0 || i >= now.shown.words.length || i === word()) return;
      go({ word: i, foil: null });
      ask();
    },
    step: (by) => act.choose(word() + by),
    hover(i) {
      now.hovered = i;
      parts.about.textContent = about({ ...view(), words: now.shown.words }, i ?? word());
    },
    foil(foil) {
      go({ foil });
      ask();
    },
    method(method) {
      go({ method });
      ask();
    },
    settings(change) {
      go(change, { keep: true });
      refreshNext();
      clearTimeout(pause);
      pause = setTimeout(() => attempt(goOn), PAUSE); // the next word at once, the rest when the slider rests
    },
    again() {
      go({ seed: state.seed + 1 });
      attempt(goOn);
    },
    door(name) {
      if (!fitting().some((door) => door.name === name)) return;
      go({ door: state.door === name ? null : name });
      drawDoor();
      if (state.door) parts.room.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    },
    head(layer, head) {
      const counts = now.model?.heads ?? [];
      if (!counts.length) return;
      layer = Math.max(0, Math.min(layer, counts.length - 1));
      go({ layer, head: Math.max(0, Math.min(head, counts[layer] - 1)) }, { keep: true });
      drawDoor();
    },
    tokens() {
      if (!source.live || translates()) return;
      go({ tokens: state.tokens ? null : 1, word: null, foil: null });
      read();
    },
    aligned(layer) {
      now.aligned = layer;
    },
    walk(layers, heads) {
      if (state.door) act.head(at().layer + layers, at().head + heads);
    },
    edit(on = true) {
      if (!source.live) return;
      parts.paper.classList.toggle("editing", on);
      if (on) {
        parts.editor.value = state.text;
        parts.editor.focus();
        parts.editor.setSelectionRange(state.text.length, state.text.length);
      } else parts.sentence.focus({ preventScroll: true });
    },
    back() {
      if (parts.paper.classList.contains("editing")) act.edit(false);
      else if (state.foil) act.foil(null);
      else if (state.door) act.door(state.door);
    },
    notes: () => root.classList.toggle("quiet"),
    theme() {
      const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || (document.documentElement.dataset.theme === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
      document.documentElement.dataset.theme = dark ? "light" : "dark";
      drawDoor();
    },
    help: () => parts.help.showModal(),
    save() {
      if (!source.live || !now.importance) return;
      attempt(async () => {
        const blob = await source.save(text(), word(), state.foil, state.method, settings(), title());
        const link = h("a", { href: URL.createObjectURL(blob), download: "limelight.html" });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      });
    },
    model(name) {
      go({ model: name, layer: null, head: null });
      open();
    },
  };

  const fitting = () => doors.filter((door) => !now.model || door.fits(now.model));

  // The head on the screen: the one chosen, or the one that looks hardest at the words that mattered.
  function at() {
    const telling = now.importance?.telling;
    const layer = Math.min(state.layer ?? telling?.layer ?? now.aligned ?? 0, Math.max(0, (now.model?.heads.length ?? 1) - 1));
    return { layer, head: Math.min(state.head ?? telling?.head ?? 0, (now.model?.heads[layer] ?? 1) - 1) };
  }

  // --- drawing --------------------------------------------------------------------------------------------------

  const view = () => ({ ...now, ...at(), words: now.shown.words, tail: now.shown.tail, word: word(), foil: state.foil, chosen: state.layer, live: source.live, tokens: tokens(), settings: settings() });

  const title = () => (now.model && parts.models.selectedOptions[0]?.textContent.split(/[,(]/)[0].trim()) || "the model";

  function drawSentence() {
    const data = view();
    sentence(parts.sentence, data, act);
    parts.paper.dataset.size = parts.sentence.dataset.size;
    reveal();
    parts.about.textContent = data.words.length ? about(data, now.hovered ?? data.word) : "";
    const asked = quoted(data.words[data.word]?.text ?? "");
    parts.tokensButton.setAttribute("aria-pressed", data.tokens ? "true" : "false");
    parts.ask.textContent = !data.words.length
      ? "Write a sentence."
      : state.foil
        ? `Why ${asked} and not ${quoted(state.foil)}?`
        : translates() && data.word < now.given
          ? `What did ${title()} say because of ${asked}?`
          : `Which words made ${title()} say ${asked}?`;
    parts.place.textContent = data.words.length ? `Instead of ${asked} it could have said` : "";
  }

  // Scrolls a long sentence, not the page, to the word in question.
  function reveal() {
    const asked = parts.sentence.querySelector(".asked");
    const box = parts.sentence;
    if (!asked || box.scrollHeight <= box.clientHeight) return;
    const [top, bottom] = [asked.offsetTop, asked.offsetTop + 2 * asked.offsetHeight];
    if (top < box.scrollTop || bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
  }

  function drawAnswer() {
    const data = view();
    if (!data.words.length && !data.error && now.model) return fill(parts.replies);
    answer(parts.replies, data, act);
  }

  function drawNext() {
    parts.beneath.hidden = translates() && word() < now.given; // nothing else could have stood in what was read
    if (!now.shown.words.length || parts.beneath.hidden) return fill(parts.likely);
    likely(parts.likely, view(), act);
  }

  function drawDoor() {
    parts.doors.querySelectorAll("button").forEach((button) => button.setAttribute("aria-expanded", button.dataset.door === state.door ? "true" : "false"));
    const of = signal("door"); // a view that was closed must not come back when its numbers arrive
    const door = fitting().find((one) => one.name === state.door);
    if (!door || !now.model || !now.shown.words.length) return fill(parts.room);
    const { tail } = everything() ? now.shown : (now.shown.base ?? now.shown);
    const places = { ...view(), words: words(), tail };
    const need = { data: places, text: text(), source, act, signal: of, again };
    need.remembered = async (key, find) => {
      const found = await remembered(key, find);
      of.throwIfAborted();
      return found;
    };
    function again(...more) {
      door.draw(parts.room, need, ...more).catch((error) => {
        if (error.name !== "AbortError") fill(parts.room, h("p", { class: "error", role: "alert" }, error.message));
      });
    }
    again();
  }

  function draw() {
    drawSentence();
    drawAnswer();
    drawNext();
    drawDoor();
  }

  // --- the start ------------------------------------------------------------------------------------------------

  async function open() {
    await attempt(async () => {
      abandon();
      now.error = null;
      now.model = null;
      now.aligned = null;
      now.progress = { note: "Opening the model", total: 0 };
      drawAnswer();
      const tell = (progress) => {
        now.progress = { ...progress, note: `Opening ${state.model ?? parts.models.value}: ${progress.note}` };
        drawAnswer();
      };
      now.model = await source.open(state.model ?? parts.models.value, tell, signal("open"));
      parts.doors.querySelectorAll("button").forEach((button) => (button.hidden = !fitting().some((door) => door.name === button.dataset.door)));
      [parts.measured, parts.drawing, parts.tokensButton].forEach((part) => (part.hidden = translates()));
      parts.saveButton.hidden = !source.live;
      parts.tokensButton.hidden ||= !source.live;
      const methods = now.model.methods.map(({ name, title }) => h("option", { value: name }, title));
      fill(parts.methods, methods.length > 1 && h("option", { value: "" }, "default"), methods);
      await read();
    });
  }

  parts.editor.addEventListener("input", () => {
    fill(parts.sentence, h("span", { class: "given" }, parts.editor.value));
    clearTimeout(pause);
    pause = setTimeout(() => {
      go({ text: parts.editor.value, word: null, foil: null });
      read();
    }, PAUSE);
  });
  parts.editor.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) (event.preventDefault(), act.edit(false));
  });
  parts.editor.addEventListener("blur", () => parts.paper.classList.remove("editing"));
  parts.sentence.addEventListener("click", (event) => event.target.classList.contains("word") || act.edit());
  parts.sentence.addEventListener("dblclick", () => act.edit());
  parts.sentence.addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), act.edit()));
  parts.tokensButton.addEventListener("click", act.tokens);
  parts.editButton.addEventListener("click", () => act.edit());
  parts.models.addEventListener("change", () => act.model(parts.models.value));
  parts.methods.addEventListener("change", () => act.method(parts.methods.value || null));
  parts.themeButton.addEventListener("click", act.theme);
  parts.helpButton.addEventListener("click", act.help);
  parts.saveButton.addEventListener("click", act.save);
  parts.whynot.addEventListener("submit", (event) => {
    event.preventDefault();
    const foil = parts.whynot.elements.foil.value.trim();
    if (foil) act.foil(foil);
  });
  fill(parts.doors, doors.map((door, i) => h("button", { class: "door", "data-door": door.name, "aria-expanded": "false", onclick: () => act.door(door.name), title: door.says }, h("b", {}, i + 1), door.title)));
  sliders(parts.sliders, state, act, source.live);
  keys(document, act, doors);
  window.addEventListener("resize", () => drawDoor());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawDoor());
  window.addEventListener("popstate", () => {
    if (!source.live) return;
    const before = { ...state };
    Object.assign(state, address.read(location.hash));
    if (before.model !== state.model) open();
    else if (before.text !== state.text || before.tokens !== state.tokens) read();
    else if (before.word !== state.word || before.foil !== state.foil || before.method !== state.method) ask();
    drawDoor();
  });

  draw();
  attempt(async () => {
    const { models, first } = await source.models();
    now.models = models;
    const chosen = models.find((model) => model.name === state.model)?.name ?? first;
    fill(parts.models, models.map((model) => h("option", { value: model.name, selected: model.name === chosen }, `${model.title || short(model.name)}${model.here || model.name === first ? "" : " (fetched when chosen)"}`)));
    await open();
  });
}

const short = (name) => name.split(/[\\/]/).filter(Boolean).pop().replace(/\.(gguf|safetensors|bin|pth?)$/, "");

// The last word that is more than a mark.
const telling = (words) => Math.max(0, words.findLastIndex((one) => /[\p{L}\p{N}]/u.test(one.text)));

// A text that has not been cut into words yet.
const plain = (text) => ({ words: [], tail: text });

// The given text's words, and behind them those that the model added. Where it went on with the last word, that stays
// what was given, since that is what is asked about, and the rest of it stands behind.
function joined(base, whole, added) {
  const n = base.words.length;
  const last = whole.words[n - 1];
  if (!last?.text.startsWith(base.words[n - 1].text)) return { ...base, tail: base.tail + added, base };
  const rest = last.text.slice(base.words[n - 1].text.length);
  const [next, ...others] = whole.words.slice(n);
  const words = [...base.words, ...(next ? [{ ...next, gap: rest + next.gap, given: false }, ...others] : [])];
  return { words, tail: next ? whole.tail : rest + whole.tail, base };
}

function frame(root, source) {
  const parts = {};
  const part = (name, tag, attributes = {}, ...children) => (parts[name] = h(tag, attributes, ...children));
  fill(
    root,
    h("header", {},
      h("span", { class: "brand" }, "limelight"),
      part("models", "select", { "aria-label": "Model", disabled: !source.live }),
      h("span", { class: "right" },
        part("helpButton", "button", { class: "icon", title: "keys (?)", "aria-label": "keys" }, "?", h("span", { class: "wide" }, " keys")),
        part("saveButton", "button", { class: "icon", title: "save as one file that opens in any browser (s)", "aria-label": "save", hidden: !source.live }, "⤓", h("span", { class: "wide" }, " save")),
        part("themeButton", "button", { class: "icon", title: "light or dark (d)", "aria-label": "light or dark" }, "◐"))),
    h("main", {},
      h("div", { class: "stage" },
        part("ask", "h1", { class: "ask" }),
        part("paper", "div", { class: "paper" },
          part("sentence", "div", { class: "sentence", role: "listbox", tabindex: 0, dir: "auto", "aria-label": "The sentence; arrow keys choose a word, Enter edits" }),
          part("editor", "textarea", { class: "editor", dir: "auto", "aria-label": "Edit the sentence", spellcheck: "false", maxlength: 100000 })),
        h("div", { class: "under" },
          part("about", "span", { class: "about", role: "status" }),
          part("measured", "label", {}, "measured by ", part("methods", "select", { disabled: !source.live })),
          part("tokensButton", "button", { class: "small", title: "key: t", "aria-pressed": "false" }, "tokens"),
          part("editButton", "button", { class: "small", title: "key: /", hidden: !source.live }, "edit the sentence"))),
      part("replies", "div", { class: "replies", "aria-live": "polite" }),
      part("beneath", "div", { class: "beneath" },
        h("section", {},
          part("place", "h2"),
          part("likely", "div", { class: "likely" }),
          part("whynot", "form", { class: "whynot", hidden: !source.live }, h("label", {}, "why not ", h("input", { name: "foil", maxlength: 200, "aria-label": "another word", autocomplete: "off" }), " ?"), h("button", { class: "small" }, "ask"))),
        part("drawing", "section", {}, h("h2", {}, "How the next word is drawn"), part("sliders", "div")))),
    part("doors", "nav", { class: "doors", "aria-label": "More views" }),
    part("room", "main", { class: "room" }),
    part("help", "dialog", { "aria-label": "Keys" }),
  );
  return parts;
}
