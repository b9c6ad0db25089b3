// What is on the screen: the sentence, the answer, what could stand there, and the doors to everything else.
import { advance, answer, numbers } from "./answer.js";
import { doors } from "./doors.js";
import { fill, h, quoted } from "./dom.js";
import { frame } from "./frame.js";
import { keys } from "./keys.js";
import { likely, sliders } from "./next.js";
import { about, extend, sentence } from "./sentence.js";
import * as address from "./state.js";

const FEW = 60; // words whose picture comes about as soon as anything else
const PAUSE = 350; // milliseconds without a key before the sentence is read again

// source: where data comes from, see live.js and saved.js.
export function start(root, source) {
  const state = source.state ?? address.read(location.hash);
  const now = { model: null, shown: plain(state.text), given: 0, tail: "", importance: null, next: null, progress: { note: "Opening the model" }, error: null, hovered: null };
  const parts = frame(root, source);
  const pending = {}; // what is under way, by name: asking anew ends it
  let pause; // until what is being typed or moved has come to rest
  const known = new Map(); // answers by question, so that coming back waits for nothing

  // --- the question ---------------------------------------------------------------------------------------------

  const translates = () => Boolean(now.model?.translates); // then what was added is the translation of what was given
  // The place of the word in question: if nobody chose one, the word that the model says next, behind what was given.
  const word = () => {
    if (state.word === null && !translates()) return now.given;
    return Math.max(0, Math.min(state.word ?? telling(now.shown.words), now.shown.words.length - 1));
  };
  const tokens = () => state.tokens === 1 && !translates();
  const whole = () => !source.live || translates() || word() > now.given; // all that was added is looked at
  const ahead = () => !whole() && word() === now.given; // the text and the word that the model says next
  const text = () => ({ given: state.text, added: whole() ? now.added : "", tokens: tokens(), ahead: ahead() });
  const words = () => (whole() ? now.shown.words : now.shown.words.slice(0, ahead() ? now.given + 1 : now.given));
  const tail = () => (whole() ? now.shown.tail : now.tail);
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
    Object.assign(now, { importance: null, next: null, error: null, added: source.added ?? "", progress: null, tail: "" });
    abandon();
    if (!state.text.trim()) {
      Object.assign(now, { shown: plain(""), given: 0 });
      return draw();
    }
    await attempt(async () => {
      const of = signal("words");
      now.shown = await cut({ added: "", ahead: false }, of);
      now.given = now.shown.words.filter((one) => one.given).length;
      now.tail = now.shown.tail;
      draw();
      if (!source.live) return (await ask())();
      const beyond = translates() || state.word > now.given; // asked about a word still to be written
      let check; // what gets it; the answer first, and what takes longest last: one machine computes all
      if (state.word !== null && state.word < now.given) check = await ask();
      if (!translates()) await lookAhead(of);
      if (!check && !beyond && now.given <= FEW) check = await ask();
      of.throwIfAborted(); // by another sentence or another model
      await goOn();
      check ??= await ask();
      check();
    });
  }

  // A text cut into words.
  function cut(more, of) {
    const text = { given: state.text, tokens: tokens(), ...more };
    return remembered(["words", text], () => source.words(text, of));
  }

  // The word that the model says next, whatever is drawn behind it.
  async function lookAhead(of) {
    now.shown = await cut({ added: "", ahead: true }, of);
    now.ahead = now.shown.added;
    drawSentence();
  }

  // Ends when the answer is there, and returns what gets the check of it, which may take longer.
  async function ask() {
    if (!now.model || !words()[word()]) return () => {};
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
    const begun = Date.now();
    const tell = (line) => {
      if (line.estimate) return show(line.estimate);
      const bar = now.progress && parts.replies.querySelector("progress");
      now.progress = { ...line, seconds: (Date.now() - begun) / 1000 };
      if (bar) advance(bar, now.progress);
      else drawAnswer();
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
      show(await find(false));
    });
    if (!read && soon && !of.aborted) refreshNext();
    if (place === 0) drawDoor(); // nothing stands before the first word, so no answer will come to draw it
    return () => now.importance?.checked === false && !of.aborted && attempt(async () => show(await find(true)));
  }

  const askAndCheck = async () => (await ask())();

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
    return { word: place, kind: "importance", unit: "log-probability", values, named: [], onwards: true, check: null, checked: true, telling: null };
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
    const base = now.shown.base ?? now.shown;
    if (!translates() && !now.ahead) return; // the model ends the text here
    const given = state.text + (translates() ? "" : now.ahead);
    const key = JSON.stringify([state.model, "continue", given, settings()]);
    if (!known.has(key)) {
      let grown = "";
      await source.go_on(given, settings(), (piece) => {
        grown += piece;
        now.shown = { ...base, tail: `${base.tail}${translates() ? "\n" : ""}${grown}`, base };
        extend(parts.sentence, now.shown.tail);
      }, of);
      known.set(key, grown);
    }
    const grown = known.get(key);
    now.added = translates() ? grown : now.ahead + grown;
    const found = await cut({ added: now.added, ahead: false }, of);
    now.shown = translates() ? found : joined(base, found, grown);
    drawSentence();
  }

  // --- what can be done -----------------------------------------------------------------------------------------

  function go(change, { keep = false } = {}) {
    Object.assign(state, change);
    if (source.live) history[keep ? "replaceState" : "pushState"](null, "", address.write(state));
  }

  const act = {
    choose(i) {
      if (i < 0 || i >= now.shown.words.length || i === word()) return;
      go({ word: i === now.given && source.live && !translates() ? null : i, foil: null });
      askAndCheck();
    },
    step: (by) => act.choose(word() + by),
    hover(i) {
      now.hovered = i;
      parts.about.textContent = about({ ...view(), words: now.shown.words }, i ?? word());
    },
    foil(foil) {
      go({ foil });
      askAndCheck();
    },
    method(method) {
      go({ method });
      askAndCheck();
    },
    settings(change) {
      go(change, { keep: true });
      refreshNext();
      clearTimeout(pause);
      pause = setTimeout(act.redraw, PAUSE); // the next word at once, the rest when the slider rests
    },
    again() {
      go({ seed: state.seed + 1 });
      act.redraw();
    },
    redraw() {
      attempt(async () => {
        await goOn();
        if (translates() || word() > now.given) await askAndCheck(); // it may be another word now
      });
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

  const view = () => ({ ...now, ...at(), words: now.shown.words, tail: now.shown.tail, word: word(), foil: state.foil, chosen: state.layer, method: state.method, ahead: ahead(), live: source.live, tokens: tokens(), settings: settings() });

  const title = () => (now.model && parts.models.selectedOptions[0]?.textContent.split(/[,(]/)[0].trim()) || "the model";

  function drawSentence() {
    const data = view();
    sentence(parts.sentence, data, act);
    parts.paper.dataset.size = parts.sentence.dataset.size;
    reveal();
    parts.about.textContent = data.words.length ? about(data, now.hovered ?? data.word) : "";
    const one = data.words[data.word];
    const asked = quoted(one?.text ?? "");
    parts.tokensButton.setAttribute("aria-pressed", data.tokens ? "true" : "false");
    parts.ask.textContent = !data.words.length
      ? "Write a sentence."
      : !one
        ? `What does ${title()} say next?`
      : state.foil
        ? `Why ${asked} and not ${quoted(state.foil)}?`
        : translates() && data.word < now.given
          ? `What did ${title()} say because of ${asked}?`
          : `Which words made ${title()} say ${asked}?`;
    parts.place.textContent = one ? `Instead of ${asked} it could have said` : data.words.length ? "What could come next" : "";
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
    parts.how.hidden = !data.importance || data.importance.estimate || data.importance.onwards;
    if (!data.words.length && !data.error && now.model) return fill(parts.replies);
    answer(parts.replies, data, act);
    numbers(parts.numbers, data);
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
    if (!door || !now.model || !words()[word()]) return fill(parts.room);
    const places = { ...view(), words: words(), tail: tail() };
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
    else if (before.word !== state.word || before.foil !== state.foil || before.method !== state.method) askAndCheck();
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

// The given words with the next one, and behind them those that were drawn. Where those went on with the last word, that
// stays as it is, since that is what is asked about, and the rest of it stands behind.
function joined(base, whole, added) {
  const n = base.words.length;
  const last = whole.words[n - 1];
  if (!last?.text.startsWith(base.words[n - 1].text)) return { ...base, tail: base.tail + added, base };
  const rest = last.text.slice(base.words[n - 1].text.length);
  const [next, ...others] = whole.words.slice(n);
  const words = [...base.words, ...(next ? [{ ...next, gap: rest + next.gap, given: false }, ...others] : [])];
  return { words, tail: next ? whole.tail : rest + whole.tail, base };
}
