// From what is known to what is seen: each part of the page drawn anew by the view that it belongs to.
import { advance, answer, numbers } from "./answer.js";
import { fitting } from "./acts.js";
import { beams } from "./beams.js";
import { fill, h, quoted } from "./dom.js";
import { chips, likely } from "./next.js";
import * as q from "./question.js";
import { about, glow, sentence } from "./sentence.js";
import { writing } from "./writing.js";

export function drawing(app) {
  const { root, state, now, source, parts, work } = app;
  const arcs = beams(parts.paper, parts.sentence, (place) => parts.sentence.querySelector(`#word-${place}`));

  // What is lit: the answer about the word in question, or what is known of the word that is pointed at.
  function lit(data) {
    const pointed = now.hovered !== null && now.hovered !== data.word && now.crossed?.[now.hovered];
    if (pointed) return { word: now.hovered, kind: "importance", unit: "log-probability", values: pointed.slice(0, now.hovered), named: [], asks: now.hovered - 1 };
    return data.importance?.word === data.word ? data.importance : null;
  }

  const draw = {
    sentence() {
      const data = q.view(app);
      sentence(parts.sentence, data, app.act);
      parts.paper.dataset.size = parts.sentence.dataset.size;
      reveal();
      arcs.show(lit(data));
      parts.about.textContent = data.words.length ? about(data, now.hovered ?? data.word) : "";
      parts.tokensButton.setAttribute("aria-pressed", data.tokens ? "true" : "false");
      parts.ask.textContent = question(data);
      const one = data.words[data.word];
      parts.place.textContent = one ? `Instead of ${quoted(one.text)} it could have said` : data.words.length ? "What could come next" : "";
    },

    hovered() {
      const data = q.view(app);
      const found = lit(data);
      parts.sentence.classList.toggle("pointed", found !== null && found.word !== data.word);
      glow(parts.sentence, found);
      arcs.show(found);
      parts.about.textContent = data.words.length ? about({ ...data, ...(found ? { word: found.word, importance: found } : {}) }, now.hovered ?? data.word) : "";
    },

    answer() {
      const data = q.view(app);
      parts.how.hidden = !data.importance?.told;
      if (!data.words.length && !data.error && now.model) return fill(parts.replies);
      answer(parts.replies, data, app.act);
      numbers(parts.numbers, data);
    },

    // How far the answer is, in place where that can be.
    progress() {
      const bar = parts.replies.querySelector("progress");
      if (bar) advance(bar, now.progress);
      else draw.answer();
    },

    next() {
      const read = q.translates(app) && q.word(app) < now.given; // nothing else could have stood in what was read
      parts.beneath.hidden = parts.chips.hidden = read;
      if (!now.shown.words.length || read) return fill(parts.likely), fill(parts.chips);
      const data = q.view(app);
      likely(parts.likely, data, app.act);
      chips(parts.chips, data, app.act);
    },

    // Shows which method is chosen, or where none is, what was `taken`.
    method(taken) {
      const [none] = parts.methods.options;
      if (none?.value !== "") return; // there is but one
      parts.methods.value = state.method ?? "";
      const title = now.model.methods.find(({ name }) => name === taken)?.title;
      none.text = title && !state.method ? `default: ${title}` : "default";
    },

    door() {
      parts.doors.querySelectorAll("button").forEach((button) => button.setAttribute("aria-expanded", button.dataset.door === state.door ? "true" : "false"));
      const of = work.signal("door"); // a view that was closed must not come back when its numbers arrive
      const door = fitting(app).find((one) => one.name === state.door);
      const words = q.words(app);
      if (!door || !now.model || !words[q.word(app)]) return fill(parts.room);
      const data = { ...q.view(app), words, tail: q.tail(app), given_text: state.text };
      const need = { data, text: q.text(app), source, act: app.act, signal: of, again };
      need.remembered = async (key, find) => {
        const found = await work.remembered(key, find);
        of.throwIfAborted();
        return found;
      };
      function again(...more) {
        door.draw(parts.room, need, ...more).catch((error) => {
          if (error.name !== "AbortError") fill(parts.room, h("p", { class: "error", role: "alert" }, error.message));
        });
      }
      again();
    },

    // The box shows the text, except while somebody writes in it.
    composer() {
      const talking = q.talks(app);
      if (document.activeElement !== parts.box && !talking) parts.box.value = state.text;
      parts.box.placeholder = talking ? "Ask anything" : q.translates(app) ? "A text to translate" : "Write anything, in any language";
      parts.go.textContent = talking ? (app.talk.writing ? "stop" : "ask") : q.translates(app) ? "translate" : "continue";
      parts.offer.hidden = !q.offers(app);
      root.classList.toggle("offering", q.offers(app));
      fit(parts.box);
    },

    mode() {
      const talking = q.talks(app);
      parts.modes.hidden = !source.live || (now.model !== null && !now.model.chats);
      for (const button of parts.modes.children) button.setAttribute("aria-pressed", (button.value === "ask") === talking ? "true" : "false");
      root.classList.toggle("talking", talking);
      if (talking) parts.box.value = "";
      parts.saveButton.hidden = !source.live || talking;
      parts.shareButton.hidden = talking || q.translates(app);
      parts.box.setAttribute("aria-label", talking ? "What you ask" : "Your text");
      draw.composer();
      if (talking) app.talk.draw();
    },

    writing: (of, put) => writing(parts, now, of, put),

    all() {
      draw.composer();
      draw.sentence();
      draw.answer();
      draw.next();
      draw.door();
    },
  };

  function question(data) {
    const one = data.words[data.word];
    if (!data.words.length) return "Write a sentence.";
    if (!one) return `What does ${q.title(app)} say next?`;
    const asked = quoted(one.text);
    if (state.foil) return `Why ${asked} and not ${quoted(state.foil)}?`;
    if (q.translates(app) && data.word < now.given) return `What did ${q.title(app)} say because of ${asked}?`;
    return `Which words made ${q.title(app)} say ${asked}?`;
  }

  // Scrolls a long sentence, not the page, to the word in question.
  function reveal() {
    const asked = parts.sentence.querySelector(".asked");
    const box = parts.sentence;
    if (!asked || box.scrollHeight <= box.clientHeight) return;
    const [top, bottom] = [asked.offsetTop, asked.offsetTop + 2 * asked.offsetHeight];
    if (top < box.scrollTop || bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
  }

  return draw;
}

// A box as high as its text, up to what its style allows.
export function fit(box) {
  box.style.setProperty("height", "auto");
  box.style.setProperty("height", `${box.scrollHeight + 2}px`);
}
