// A conversation with the model: asked, answered, stopped, tried again; and of each part of an answer where it is from.
import { told } from "./answer.js";
import { beams } from "./beams.js";
import { fill, h, note, quoted } from "./dom.js";
import { long, strengths, times } from "./loss.js";
import * as q from "./question.js";

const KINDS = { word: "this word?", sentence: "this sentence?", message: "all of it?" };

const STARTERS = ["Why is the sky blue?", "Tell me a joke about a cat.", "What is the capital of Japan?", "Write two lines that rhyme about rain."];

// app: see app.js. The turns stand in the address (state.talk); what is known of them, in `now`.
export function talk(app) {
  const { parts, source, work, state } = app;
  const arcs = beams(parts.talk, parts.turns, (place) => parts.turns.querySelector(`[data-at="${place}"]`));
  // turns: [{ role, content, finish, words }]. asked: { turn, of, word } whose light is on; pointed: the same, while the
  // pointer is there. lights: by turn. found: what was measured about `asked`.
  const now = { turns: [], asked: null, pointed: null, lights: [], found: null, progress: null, error: null, edited: null, writing: false };

  const messages = (end) => now.turns.slice(0, end).map(({ role, content }) => ({ role, content }));

  function keep() {
    app.act.go({ talk: now.turns.length ? JSON.stringify(now.turns.map(({ role, content }) => [role[0], content])) : null }, { keep: true });
  }

  // What the address holds; nothing of it is sent before the model is open.
  function read() {
    let kept = [];
    try {
      kept = JSON.parse(state.talk ?? "[]").map(([role, content]) => ({ role: role === "a" ? "assistant" : "user", content: String(content) }));
    } catch {
      // an address that somebody wrote by hand
    }
    if (JSON.stringify(kept) === JSON.stringify(messages())) return draw();
    Object.assign(now, { turns: kept, asked: null, pointed: null, lights: [], found: null, error: null });
    draw();
    if (now.turns.at(-1)?.role === "assistant") look(now.turns.length - 1);
    else if (now.turns.length) reply();
  }

  async function attempt(task) {
    try {
      await task();
    } catch (error) {
      if (error.name !== "AbortError") now.error = error.message;
    }
  }

  function say(text) {
    if (!text.trim() || now.writing) return;
    now.turns.push({ role: "user", content: text.trim() });
    return reply();
  }

  // The model's answer to all that was said; where that ends with an answer, how it goes on.
  async function reply() {
    const of = work.signal("answer");
    Object.assign(now, { asked: null, pointed: null, found: null, error: null, writing: true });
    const last = now.turns.at(-1);
    const turn = last?.role === "assistant" ? last : { role: "assistant", content: "" };
    const sent = messages();
    if (turn !== last) now.turns.push(turn);
    Object.assign(turn, { words: null, finish: null });
    draw();
    follow();
    await attempt(() =>
      source.answer(sent, q.settings(app), (step) => {
        turn.content += step.piece;
        turn.finish = step.finish;
        const shown = parts.turns.querySelector(".writing");
        if (shown) following(() => (shown.textContent = turn.content));
      }, of));
    now.writing = false;
    if (of.aborted) turn.finish = "stopped";
    turn.content = turn.content.trim();
    if (!turn.content) {
      now.turns.pop();
      now.error ??= of.aborted ? null : "The model had nothing to say to that. Ask again, or in other words.";
    }
    keep();
    draw();
    if (turn.content) await look(now.turns.indexOf(turn));
  }

  // Cuts an answer and what is before it into words, and finds what each owes to the turns before it.
  async function look(turn) {
    await attempt(async () => {
      const of = work.signal("talk");
      const sent = messages(turn + 1);
      const cut = await work.remembered(["turns", sent], () => source.turns(sent, of));
      cut.forEach(({ words, tail }, i) => (i === turn || !now.turns[i].words) && Object.assign(now.turns[i], { words, tail: tail ?? "" }));
      now.asked = { turn, of: "message", word: 0 };
      draw();
      now.lights[turn] = await work.remembered(["light", sent], () => source.light(sent, of));
      light();
    });
    draw();
  }

  // Asks where a part of an answer is from.
  async function ask(asked) {
    const turn = now.turns[asked.turn];
    if (!turn?.words) return;
    if (!now.lights[asked.turn]) await look(asked.turn);
    Object.assign(now, { asked, found: null, error: null, progress: {} });
    draw();
    await attempt(async () => {
      const sent = messages(asked.turn + 1);
      const part = asked.of === "message" ? null : asked.of === "sentence" ? turn.words[asked.word].sentence : asked.word;
      const of = work.signal("talk");
      const found = await work.remembered(["came from", sent, asked.of, part], () => source.cameFrom(sent, asked.of, part, () => {}, of));
      now.found = found;
    });
    now.progress = null;
    draw();
  }

  // Scrolls to the end of the conversation, which the box must not hide.
  const follow = () => parts.talkSaid.scrollIntoView({ block: "nearest" });

  // Changes what is seen; whoever was at the end of the conversation stays there.
  function following(change) {
    const near = parts.talkSaid.getBoundingClientRect().top <= window.innerHeight;
    change();
    if (near && now.turns.length) follow();
  }

  const same = (a, b) => a.turn === b.turn && a.of === b.of && a.word === b.word;

  // The places [from, to) of a part among the words of its answer.
  function span({ turn, of, word }) {
    const { words } = now.turns[turn];
    if (of === "word") return [word, word + 1];
    if (of === "message") return [0, words.length];
    const number = words[word].sentence;
    return [words.findIndex((one) => one.sentence === number), words.findLastIndex((one) => one.sentence === number) + 1];
  }

  // Where the words of a turn are among all words.
  const first = (turn) => now.turns.slice(0, turn).reduce((sum, { words }) => sum + (words?.length ?? 0), 0);

  // What each word before a part of an answer gave to it, as an importance over all words up to that part.
  function importance(asked) {
    const matrix = now.lights[asked.turn];
    const [from, to] = span(asked);
    const begins = first(asked.turn);
    const found = { word: begins + from, kind: "importance", unit: "log-probability", values: Array(begins).fill(null), named: [], asks: null };
    if (now.found && same(asked, now.asked)) {
      now.found.values.forEach((values, turn) => values.forEach((value, i) => (found.values[first(turn) + i] = value)));
      const places = now.found.values.flatMap((values, turn) => values.flatMap((value, i) => (value === null ? [] : [first(turn) + i])));
      found.named = now.found.named.map((i) => places[i]);
    } else if (matrix) {
      matrix.columns.forEach(([turn, start, stop], column) => {
        const value = matrix.values.slice(from, to).reduce((sum, row) => sum + row[column], 0);
        for (let i = start; i < stop; i++) found.values[first(turn) + i] = value;
      });
    }
    return found;
  }

  // Lights what the part in question owes to the words before it.
  function light() {
    const asked = now.pointed ?? now.asked;
    parts.turns.querySelectorAll(".word").forEach((word) => word.classList.remove("raised", "lowered", "asked", "named"));
    if (!asked || !now.turns[asked.turn]?.words) return arcs.show(null);
    const found = importance(asked);
    const strong = strengths(found);
    const [from, to] = span(asked);
    const begins = first(asked.turn);
    for (const word of parts.turns.querySelectorAll(".word")) {
      const at = Number(word.dataset.at);
      if (asked.of !== "message" && at >= begins + from && at < begins + to) word.classList.add("asked");
      word.classList.toggle("named", found.named.includes(at));
      if (!strong[at]) continue;
      word.classList.add(found.values[at] < 0 ? "lowered" : "raised");
      word.style.setProperty("--s", strong[at].toFixed(3));
    }
    arcs.show(asked.of === "message" ? null : found);
  }

  const draw = () => q.talks(app) && following(redraw);

  function redraw() {
    parts.talk.classList.toggle("empty", !now.turns.length);
    fill(
      parts.turns,
      now.turns.map((turn, i) =>
        h("li", { class: `turn ${turn.role}` },
          h("span", { class: "who" }, turn.role === "user" ? "You" : q.title(app)),
          now.edited === i ? editor(turn, i) : said(turn, i),
          !now.writing && now.edited !== i && tools(turn, i))),
    );
    fill(
      parts.talkSaid,
      now.error && h("p", { class: "error", role: "alert" }, now.error),
      !now.turns.length && [h("h1", { class: "invite" }, `Ask ${q.title(app)} anything, and then ask where it got that.`), h("p", { class: "examples" }, STARTERS.map((text) => [h("button", { class: "example", onclick: () => say(text) }, text), " "]).flat())],
    );
    app.draw.composer();
    light();
  }

  function said(turn, i) {
    if (!turn.words) return h("div", { class: `said ${now.writing && i === now.turns.length - 1 ? "writing" : ""}`, dir: "auto" }, turn.content || "…");
    const begins = first(i);
    const mine = turn.role === "assistant";
    const element = h("div", { class: "said", dir: "auto", ...(mine ? { role: "group", "aria-label": "The answer; choose a word to ask where it is from" } : {}) },
      turn.words.flatMap((word, place) => [word.gap, h(mine ? "button" : "span", { class: "word", tabindex: mine ? -1 : null, "data-at": begins + place, "data-word": place }, word.text)]), turn.tail);
    if (!mine) return element;
    const at = (event) => event.target.closest?.(".word")?.dataset.word;
    element.onclick = (event) => at(event) && ask({ turn: i, of: now.asked?.of === "sentence" ? "sentence" : "word", word: Number(at(event)) });
    element.onpointerover = (event) => at(event) && now.lights[i] && ((now.pointed = { turn: i, of: "word", word: Number(at(event)) }), light());
    element.onpointerleave = () => ((now.pointed = null), light());
    return element;
  }

  function tools(turn, i) {
    const button = (label, does, title) => h("button", { class: "small", onclick: does, title }, label);
    const last = i === now.turns.length - 1;
    const copy = button("copy", async ({ target }) => ((await navigator.clipboard?.writeText(turn.content)), (target.textContent = "copied")));
    if (turn.role === "user") return h("div", { class: "turn-tools" }, button("edit", () => ((now.edited = i), draw(), parts.turns.querySelector(".edit")?.focus())), copy);
    const asked = now.asked?.turn === i ? now.asked : null;
    return [
      asked && explained(turn, asked),
      h("div", { class: "turn-tools" },
        turn.words && h("span", { class: "faint" }, "Where did you get"),
        turn.words && h("span", { class: "modes", role: "group", "aria-label": "Where did you get that?" },
          Object.entries(KINDS).map(([of, name]) => h("button", { "aria-pressed": asked && asked.of === of && (of !== "message" || now.found || now.progress) ? "true" : "false", onclick: () => ask({ turn: i, of, word: asked?.word ?? 0 }) }, name))),
        last && button("retry", () => retry(i), "another answer (r)"),
        last && ["length", "stopped"].includes(turn.finish) && button("continue", reply, "the answer was cut off"),
        copy),
    ];
  }

  // Where the part in question is from, in sentences.
  function explained(turn, asked) {
    const [from, to] = span(asked);
    const text = turn.words.slice(from, to).map((word, i) => (i ? word.gap : "") + word.text).join("");
    if (now.progress) return h("p", { class: "waiting", role: "status" }, `Measuring where ${quoted(shortened(text))} is from`, h("progress"));
    if (!now.lights[asked.turn]) return h("p", { class: "waiting", role: "status" }, "Looking which of your words the answer hangs on", h("progress"));
    if (!now.found) return note(asked.of === "message" ? "The light: which of your words the answer hangs on, by hiding each. Point at a word of the answer to see its own light; choose it to ask where it is from." : "");
    const [what, hangs, ...check] = now.found.told.map((sentence) => told(sentence, null));
    const owed = now.found.turns.map((value, i) => ({ value, i })).filter(({ value }) => value !== null);
    return h("div", { class: "explained", role: "status" },
      h("p", {}, asked.of === "word" && [what, " "], h("span", now.found.named.length ? {} : { class: "doubt" }, hangs)),
      owed.length > 1 && h("p", {}, "Turn by turn: ", owed.map(({ value, i }) => `${quoted(shortened(now.turns[i].content))} ${value < 0.14 ? "little or nothing" : `${times(value)} times`}`).join("; "), "."),
      asked.of === "word" && from > 0 && note("Of the turns before it. What the answer itself said before this word counts, too, and is not taken away here."),
      check.length > 0 && h("p", { class: `check ${now.found.check?.holds ? "" : "doubt"}` }, check.flatMap((one) => [...one, " "])));
  }

  function editor(turn, i) {
    const box = h("textarea", { class: "edit", rows: 2, "aria-label": "Edit what you said", dir: "auto" }, turn.content);
    const done = () => {
      now.edited = null;
      if (!box.value.trim() || box.value === turn.content) return draw();
      now.turns = now.turns.slice(0, i);
      now.lights.length = i;
      say(box.value);
    };
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") ((now.edited = null), draw());
      if (event.key === "Enter" && !event.shiftKey) (event.preventDefault(), done());
    });
    return h("div", { class: "said" }, box, h("button", { class: "small", onclick: done }, "ask this instead"));
  }

  function retry(i) {
    now.turns = now.turns.slice(0, i);
    app.act.go({ seed: state.seed + 1 }, { keep: true });
    reply();
  }

  return {
    say,
    read,
    draw,
    get writing() {
      return now.writing;
    },
    stop: () => work.signal("answer"),
    again: () => now.turns.at(-1)?.role === "assistant" && !now.writing && retry(now.turns.length - 1),
    clear() {
      work.signal("answer");
      work.signal("talk");
      Object.assign(now, { turns: [], asked: null, pointed: null, lights: [], found: null, error: null, writing: false });
      keep();
      draw();
    },
    // Another word of the answer in question.
    step(by) {
      const turn = now.asked?.turn ?? now.turns.findLastIndex(({ words, role }) => words && role === "assistant");
      const words = now.turns[turn]?.words;
      if (!words) return;
      const from = now.asked && now.asked.of !== "message" ? now.asked.word : by > 0 ? -1 : words.length;
      ask({ turn, of: "word", word: Math.max(0, Math.min(words.length - 1, from + by)) });
    },
  };
}

const shortened = (text) => (text.length > 60 ? `${text.slice(0, 42).trimEnd()} …` : text);
