// What the visitor can do. Each changes the state, puts that in the address, and has read or drawn what changed.
import { CARDS } from "./cards.js";
import { download } from "./dom.js";
import { doors } from "./doors.js";
import { slides } from "./lesson.js";
import * as q from "./question.js";
import { share } from "./share.js";
import { showSnippet, snippet } from "./snippet.js";
import * as address from "./state.js";
import { still } from "./writing.js";

const PAUSE = 350; // milliseconds without a key before a text is read again

export const VIEWS = [...doors, ...CARDS];

export const fitting = ({ now, source }) => VIEWS.filter((door) => (source.live || (door.plays ? source.cards?.includes(door.name) : !door.asks)) && (!now.model || door.fits(now.model)));

export function acts(app) {
  const { root, state, now, source, parts, work, draw, flow } = app;
  let pause; // until what is being typed or moved has come to rest

  function go(change, { keep = false } = {}) {
    Object.assign(state, change);
    if (source.live) history[keep ? "replaceState" : "pushState"](null, "", address.write(state));
  }

  // Scrolls to the views that are open; the sentence stays above them.
  function show() {
    if (!state.door || state.lesson !== null) return;
    const top = matchMedia("(max-width: 600px)").matches ? parts.room : parts.doors; // there the doors are below
    top.style.setProperty("scroll-margin-top", `${parts.paper.offsetHeight}px`);
    top.scrollIntoView({ block: "start", behavior: still() ? "auto" : "smooth" });
  }

  const act = {
    go,
    // What shows the same again, whichever model the server has open by then; a file has no such address.
    link: () => (source.live ? location.href.replace(/#.*|$/, address.write({ ...state, model: now.model?.name ?? state.model })) : null),
    player: null, // of the card that is open: { step(by), toggle() }
    card(by) {
      const every = fitting(app).filter((one) => one.plays);
      const cards = state.lesson === null ? every : slides(state, every);
      const at = cards.findIndex((one) => one.name === state.door);
      const next = cards[at < 0 ? 0 : (at + by + cards.length) % cards.length];
      if (next && next.name !== state.door) act.door(next.name);
    },
    // names: of cards, in their order; null: no lesson. Without any that was begun before, all cards are in it.
    lesson(names) {
      const every = fitting(app).filter((one) => one.plays).map((card) => card.name);
      if (!source.live || !every.length) return;
      const on = names !== null && state.lesson === null && !names.length ? every : names;
      go({ lesson: on?.join(",") ?? null, beside: null, ...(on && !on.includes(state.door) ? { door: on[0] ?? null } : {}) });
      act.player = null;
      draw.door();
      if (on) scrollTo(0, 0);
      else show();
    },

    // The box: what is typed is read when the keys rest.
    type(text) {
      clearTimeout(pause);
      pause = setTimeout(() => text !== state.text && act.write(text), PAUSE);
    },
    // What an encoder reads besides the text.
    other(text) {
      go({ other: text, foil: null });
      flow.read();
    },
    write(text) {
      clearTimeout(pause);
      go({ text, word: null, foil: null, instead: null });
      draw.composer();
      flow.read();
    },
    // The box's button: a question goes to the model, any other text goes on.
    enter(text) {
      clearTimeout(pause);
      if (q.talks(app) && app.talk.writing) return app.talk.stop();
      if (q.talks(app) || (q.asks(text) && now.model?.chats && state.mode === null)) return act.say(text);
      if (text !== state.text) act.write(text);
      else act.again();
    },
    example(one) {
      if (one.ask && now.model?.chats) return act.say(one.text);
      if (q.talks(app)) act.mode(null);
      act.write(one.swapped && state.text === one.text ? one.swapped : one.text);
    },
    mode(mode) {
      if ((mode === "ask") === q.talks(app) && mode !== "continue") return;
      go({ mode, word: null, foil: null });
      draw.mode();
      if (mode !== "ask") flow.read();
      else {
        work.abandon(); // what was asked of the text, which is out of sight
        app.talk.read();
        parts.box.focus();
      }
    },
    say(text) {
      act.mode("ask");
      parts.box.value = "";
      app.talk.say(text);
      draw.composer();
    },

    choose(i) {
      if (i < 0 || i >= now.shown.words.length || i === q.word(app)) return;
      const first = q.reads(app) ? now.shown.asked : q.translates(app) || !source.live ? -1 : now.given;
      go({ word: i === first ? null : i, foil: null });
      if (i !== q.word(app)) return; // an answer about the whole text is asked about all the time
      now.hovered = null;
      flow.askAndCheck();
    },
    step: (by) => (q.talks(app) ? app.talk.step(by) : act.choose(q.word(app) + by)),
    hover(i) {
      now.hovered = i;
      draw.hovered();
    },
    foil(foil) {
      go({ foil });
      flow.askAndCheck();
    },
    // Goes on with another word than the model would have said; a token brings the space in front of it.
    take: (token) => act.write(state.text + token),
    method(method) {
      go({ method });
      flow.askAndCheck();
    },
    settings(change) {
      go(change, { keep: true });
      flow.next();
      clearTimeout(pause);
      pause = setTimeout(act.redraw, PAUSE); // the next word at once, the rest when the slider rests
    },
    again() {
      if (q.talks(app)) return app.talk.again();
      go({ seed: state.seed + 1 });
      act.redraw();
    },
    redraw() {
      work.attempt(async () => {
        await flow.goOn();
        if (q.translates(app) || q.word(app) > now.given) await flow.askAndCheck(); // it may be another word now
      });
    },
    door(name) {
      if (!fitting(app).some((door) => door.name === name)) return;
      if (state.door === name) go({ door: state.beside, beside: null });
      else go(state.beside ? { beside: state.beside === name ? null : name } : { door: name });
      act.player = null;
      draw.door();
      show();
    },
    nth(number) {
      const shown = fitting(app).filter((door) => !door.plays);
      if (shown[number]) act.door(shown[number].name);
    },
    // Opens a door beside the one that is open, or closes the second; by: the next or the one before.
    beside(name) {
      if (!state.door || name === state.door) return;
      go({ beside: name || null });
      draw.door();
      show();
    },
    besideNext() {
      const others = fitting(app).filter((door) => door.name !== state.door).map((door) => door.name);
      act.beside([...others, ""][others.indexOf(state.beside) + 1]);
    },
    // What the text is compared with: { instead, than, off }.
    change(more) {
      go(more);
      draw.door();
    },
    steer(how) {
      go(how, { keep: true });
      draw.door();
    },
    inside(kind) {
      go({ inside: kind }, { keep: true });
      draw.door();
    },
    // Opens what compares, and begins to write there.
    compare() {
      if (!q.opened(app).includes("what-if")) act.door("what-if");
      parts.room.querySelector("[name=instead]")?.focus({ preventScroll: true });
    },
    head(layer, head) {
      const counts = now.model?.heads ?? [];
      if (!counts.length) return;
      layer = Math.max(0, Math.min(layer, counts.length - 1));
      go({ layer, head: Math.max(0, Math.min(head, counts[layer] - 1)) }, { keep: true });
      draw.door();
    },
    tokens() {
      if (!source.live || q.translates(app) || q.reads(app)) return;
      go({ tokens: state.tokens ? null : 1, word: null, foil: null });
      flow.read();
    },
    aligned(layer) {
      now.aligned = layer;
    },
    walk(layers, heads) {
      const at = q.head(app);
      if (state.door) act.head(at.layer + layers, at.head + heads);
    },
    edit() {
      if (!source.live) return;
      parts.box.focus();
      parts.box.setSelectionRange(parts.box.value.length, parts.box.value.length);
    },
    back() {
      if (q.talks(app) && app.talk.writing) app.talk.stop();
      else if (q.talks(app)) parts.box.blur(); // from where the arrow keys choose a word of the answer
      else if (document.activeElement === parts.box) parts.sentence.focus({ preventScroll: true });
      else if (state.foil) act.foil(null);
      else if (state.lesson !== null) act.lesson(null);
      else if (state.door) act.door(state.beside ?? state.door);
    },
    notes: () => root.classList.toggle("quiet"),
    theme() {
      const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || (document.documentElement.dataset.theme === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
      document.documentElement.dataset.theme = dark ? "light" : "dark";
      draw.door();
    },
    help: () => parts.help.showModal(),
    share() {
      const data = q.view(app);
      if (data.importance?.told && data.importance.word === data.word && !q.translates(app) && !q.talks(app)) share(parts.shared, data, parts.ask.textContent, act.link(), act);
    },
    snippet() {
      if (source.live && now.shown.words.length && !q.talks(app)) showSnippet(parts.code, snippet(q.view(app), q.text(app), state, q.opened(app)));
    },
    save() {
      if (!source.live || !now.importance || q.talks(app) || q.reads(app)) return;
      const label = parts.saveButton.querySelector(".wide");
      label.textContent = " saving …";
      return work.attempt(async () => {
        const blob = await source.save(q.text(app), q.word(app), state.foil, state.method, q.settings(app), q.title(app));
        download(blob, "limelight.html");
      }).finally(() => (label.textContent = " save"));
    },
    model(name) {
      go({ model: name, layer: null, head: null, word: null, foil: null, than: null, off: null });
      app.open();
    },
  };
  return act;
}
