// What the visitor can do. Each changes the state, puts that in the address, and has read or drawn what changed.
import { CARDS } from "./cards.js";
import { download } from "./dom.js";
import { doors } from "./doors.js";
import * as q from "./question.js";
import { share } from "./share.js";
import * as address from "./state.js";

const PAUSE = 350; // milliseconds without a key before a text is read again

export const VIEWS = [...doors, ...CARDS];

export const fitting = ({ now, source }) => VIEWS.filter((door) => (!door.plays || source.live) && (!now.model || door.fits(now.model)));

export function acts(app) {
  const { root, state, now, source, parts, work, draw, flow } = app;
  let pause; // until what is being typed or moved has come to rest

  function go(change, { keep = false } = {}) {
    Object.assign(state, change);
    if (source.live) history[keep ? "replaceState" : "pushState"](null, "", address.write(state));
  }

  const act = {
    go,
    player: null, // of the card that is open: { step(by), toggle() }
    card(by) {
      const cards = fitting(app).filter((one) => one.plays);
      const at = cards.findIndex((one) => one.name === state.door);
      if (cards.length) act.door(cards[at < 0 ? 0 : (at + by + cards.length) % cards.length].name);
    },

    // The box: what is typed is read when the keys rest.
    type(text) {
      clearTimeout(pause);
      pause = setTimeout(() => text !== state.text && act.write(text), PAUSE);
    },
    write(text) {
      clearTimeout(pause);
      go({ text, word: null, foil: null });
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
      go({ word: i === now.given && source.live && !q.translates(app) ? null : i, foil: null });
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
      go({ door: state.door === name ? null : name });
      act.player = null;
      draw.door();
      if (state.door) parts.doors.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    },
    head(layer, head) {
      const counts = now.model?.heads ?? [];
      if (!counts.length) return;
      layer = Math.max(0, Math.min(layer, counts.length - 1));
      go({ layer, head: Math.max(0, Math.min(head, counts[layer] - 1)) }, { keep: true });
      draw.door();
    },
    tokens() {
      if (!source.live || q.translates(app)) return;
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
      if (q.talks(app)) app.talk.stop();
      else if (document.activeElement === parts.box) parts.sentence.focus({ preventScroll: true });
      else if (state.foil) act.foil(null);
      else if (state.door) act.door(state.door);
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
      if (data.importance?.told && data.importance.word === data.word && !q.translates(app) && !q.talks(app)) share(parts.shared, data, q.title(app), act);
    },
    save() {
      if (!source.live || !now.importance || q.talks(app)) return;
      work.attempt(async () => {
        const blob = await source.save(q.text(app), q.word(app), state.foil, state.method, q.settings(app), q.title(app));
        download(blob, "limelight.html");
      });
    },
    model(name) {
      go({ model: name, layer: null, head: null });
      app.open();
    },
  };
  return act;
}
