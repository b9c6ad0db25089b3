// From what is known to what is seen: each part of the page drawn anew by the view that it belongs to.
import { advance, answer, numbers } from "./answer.js";
import { fitting } from "./acts.js";
import { beams } from "./beams.js";
import { fill, h, quoted } from "./dom.js";
import { lesson } from "./lesson.js";
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

  const panels = [0, 1].map(() => h("section", { class: "panel" }));

  function view(door, panel, of) {
    const data = { ...q.view(app), words: q.words(app), tail: q.tail(app), given_text: state.text };
    const need = { data, text: q.text(app), state, source, act: app.act, signal: of, again };
    need.remembered = async (key, find) => {
      const found = await work.remembered(key, find);
      of.throwIfAborted();
      return found;
    };
    function again(...more) {
      door.draw(panel, need, ...more).catch((error) => {
        if (error.name !== "AbortError") fill(panel, h("p", { class: "error", role: "alert" }, error.message));
      });
    }
    again();
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
      const chooses = !["span", "score", "near"].includes(q.reads(app)?.kind);
      const read = !chooses || (q.translates(app) && q.word(app) < now.given); // nothing else could have stood in what was read
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

    // The views that are open, each in a panel of its own.
    door() {
      const open = q.opened(app).map((name) => fitting(app).find((one) => one.name === name)).filter(Boolean);
      parts.doors.querySelectorAll("button").forEach((button) => button.setAttribute("aria-expanded", open.some((door) => door.name === button.dataset.door) ? "true" : "false"));
      parts.beside.value = open[1]?.name ?? "";
      const cards = fitting(app).filter((one) => one.plays);
      const before = root.className;
      root.classList.toggle("lesson", source.live && state.lesson !== null && cards.length > 0);
      lesson(parts.lesson, { ...state, lesson: root.classList.contains("lesson") ? state.lesson : null }, cards, app.act);
      const shown = now.model && q.words(app)[q.word(app)] ? open : [];
      root.classList.toggle("opened", shown.length > 0);
      root.classList.toggle("two-open", shown.length > 1);
      if (root.className !== before) draw.sentence(); // it has another size now
      panels.slice(shown.length).forEach((panel) => fill(panel));
      if (parts.room.childElementCount !== shown.length) fill(parts.room, panels.slice(0, shown.length));
      panels.forEach((panel, i) => {
        const of = work.signal(`door ${i}`); // a view that was closed must not come back when its numbers arrive
        if (panel.dataset.view !== shown[i]?.name) fill(panel);
        panel.dataset.view = shown[i]?.name;
        if (shown[i]) view(shown[i], panel, of);
      });
    },

    // The box shows the text, except while somebody writes in it.
    composer() {
      const talking = q.talks(app);
      if (document.activeElement !== parts.box && !talking) parts.box.value = state.text;
      parts.box.placeholder = talking ? "Ask anything" : q.translates(app) ? "A text to translate" : q.reads(app) ? "A text to read" : "Write anything, in any language";
      parts.go.textContent = talking ? (app.talk.writing ? "stop" : "ask") : q.translates(app) ? "translate" : q.reads(app) ? "read" : "continue";
      parts.offer.hidden = !q.offers(app);
      root.classList.toggle("offering", q.offers(app));
      root.classList.toggle("blank", source.live && !talking && !state.text.trim());
      fit(parts.box);
    },

    mode() {
      const talking = q.talks(app);
      parts.modes.hidden = !source.live || (now.model !== null && !now.model.chats);
      for (const button of parts.modes.children) button.setAttribute("aria-pressed", (button.value === "ask") === talking ? "true" : "false");
      root.classList.toggle("talking", talking);
      if (talking) parts.box.value = "";
      parts.saveButton.hidden = !source.live || talking || Boolean(q.reads(app));
      parts.shareButton.hidden = talking || q.translates(app);
      parts.codeButton.hidden = !source.live || talking;
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
    if (!data.words.length) return state.text.trim() ? "" : "Write a sentence.";
    if (!one) return `What does ${q.title(app)} say next?`;
    const asked = quoted(one.text);
    if (state.foil) return `Why ${asked} and not ${quoted(state.foil)}?`;
    if (data.reads) return READ[data.reads.kind](asked, q.title(app), data);
    if (q.translates(app) && data.word < now.given) return `What did ${q.title(app)} say because of ${asked}?`;
    return `Which words made ${q.title(app)} say ${asked}?`;
  }

  // Scrolls a long sentence, not the page, to the word in question, and so that a word that it came from is seen, too,
  // where there is room for both.
  function reveal() {
    const asked = parts.sentence.querySelector(".asked");
    const box = parts.sentence;
    if (!asked || box.scrollHeight <= box.clientHeight) return;
    const bottom = asked.offsetTop + 2 * asked.offsetHeight;
    const tops = [...box.querySelectorAll(".named")].map((word) => word.offsetTop - word.offsetHeight);
    const top = Math.min(asked.offsetTop, ...tops.filter((top) => top < bottom && top > bottom - box.clientHeight));
    if (top < box.scrollTop) box.scrollTop = top;
    else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
  }

  return draw;
}

// What is asked about the answer of an encoder.
const READ = {
  masked: (asked) => `${asked} is hidden: which words tell that it stood there?`,
  tags: (asked, title, { words, word }) => (words[word].tag ? `Which words made ${title} call ${asked} ${words[word].tag}?` : `Which words made ${title} give ${asked} no label?`),
  classes: (asked, title) => `Which words made ${title} say ${asked}?`,
  score: (asked, title, { beside, words, word }) => `Which words made ${title} score it ${words[word].text} for ${quoted(beside)}?`,
  span: (asked, title, { beside }) => `${beside} Which words made ${title} mark ${asked}?`,
  near: (asked, title, { beside, words, word }) => `Its likeness to ${quoted(beside)} is ${words[word].text}: which words bring the two near?`,
};

// A box as high as its text, up to what its style allows.
export function fit(box) {
  box.style.setProperty("height", "auto");
  box.style.setProperty("height", `${box.scrollHeight + 2}px`);
}
