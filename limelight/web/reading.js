// What happens when: a text is cut into words, continued, measured, checked. Data come from the source into `app.now`.
import * as q from "./question.js";

const FEW = 60; // words that are measured before all that follows them is written
const CROSSED = 40; // words of which each is measured for every later one

// app: see app.js. What is read is drawn by app.draw.
export function reading(app) {
  const { state, now, source, work, draw } = app;
  const { attempt, remembered, signal } = work;

  async function read() {
    Object.assign(now, { importance: null, next: null, error: null, added: source.added ?? "", progress: null, tail: "", hovered: null, crossed: null, steps: [] });
    work.abandon();
    if (!state.text.trim() || q.offers(app)) {
      Object.assign(now, { shown: q.plain(""), given: 0 });
      return draw.all();
    }
    await attempt(async () => {
      const of = signal("words");
      now.shown = await cut({ added: "", ahead: false }, of);
      now.given = now.shown.words.filter((one) => one.given || q.reads(app)?.kind === "masked").length;
      now.tail = now.shown.tail;
      draw.all();
      if (!source.live || q.reads(app)) return (await ask())();
      const beyond = q.translates(app) || state.word > now.given; // asked about a word still to be written
      let check; // what gets it; the answer first, and what takes longest last: one machine computes all
      if (state.word !== null && state.word < now.given) check = await ask();
      if (!q.translates(app)) await lookAhead(of);
      of.throwIfAborted(); // by another sentence or another model
      const written = goOn();
      if (beyond) await written;
      if (!check && (beyond || now.given <= FEW)) check = await ask();
      await written;
      of.throwIfAborted();
      check ??= await ask();
      await check();
      of.throwIfAborted();
      await cross();
    });
  }

  // A text cut into words.
  function cut(more, of) {
    const text = { given: state.text, tokens: q.tokens(app), ...more, ...(q.reads(app) ? { beside: q.beside(app) } : {}) };
    return remembered(["words", text], () => source.words(text, of));
  }

  // The word that the model says next, whatever is drawn behind it.
  async function lookAhead(of) {
    now.shown = await cut({ added: "", ahead: true }, of);
    now.ahead = now.shown.added;
    draw.sentence();
  }

  // Ends when the answer is there, and returns what gets the check of it, which may take longer.
  async function ask() {
    if (!now.model || !q.words(app)[q.word(app)]) return () => {};
    Object.assign(now, { error: null, importance: null, progress: null });
    const asked = q.text(app);
    const place = q.word(app);
    const read = q.translates(app) && place < now.given; // a word of the source, which the model read and did not say
    now.next = null;
    draw.method();
    draw.next();
    if (!read) next(); // it takes far less
    const losses = !state.foil && !state.method && now.crossed?.[place];
    if (losses) now.importance = { word: place, kind: "importance", unit: "log-probability", values: losses.slice(0, place), named: [], asks: place - 1, measuring: true };
    draw.sentence();
    draw.answer();
    const of = signal("importance");
    const begun = Date.now();
    const tell = (line) => {
      if (line.estimate) return show(line.estimate);
      now.progress = { ...line, seconds: (Date.now() - begun) / 1000 };
      draw.progress();
    };
    const find = (check) => remembered(["importance", asked, place, state.foil, state.method, check], () => source.importance(asked, place, state.foil, state.method, check, tell, of));
    const show = (found) => {
      now.importance = found;
      draw.method(found.method);
      draw.sentence();
      draw.answer();
      draw.door();
    };
    await attempt(async () => {
      if (read) return show(onwards(place, (await remembered(["translation", asked], () => source.translation(asked, tell, of))).grid));
      show(await find(false));
    });
    if (place === 0) draw.door(); // nothing stands before the first word, so no answer will come to draw it
    return () => now.importance?.checked === false && !of.aborted && attempt(async () => show(await find(true)));
  }

  // How much a word of the source mattered for each word of the translation.
  function onwards(place, grid) {
    const values = now.shown.words.map((_, i) => (i < now.given ? undefined : grid[i - now.given][place]));
    return { word: place, kind: "importance", unit: "log-probability", values, named: [], onwards: true, check: null, checked: true, telling: null };
  }

  function next() {
    return attempt(async () => {
      const of = signal("next");
      const asked = q.text(app);
      const place = q.word(app);
      now.next = await remembered(["next", asked, place, q.settings(app)], () => source.next(asked, place, q.settings(app), of));
      draw.next();
      if (state.door === "what-if") draw.door(); // it sets them beside those of another sentence
    });
  }

  // What each word owes to those before it, so that the light can follow the pointer from word to word.
  async function cross() {
    if (!source.live || q.translates(app) || q.reads(app) || now.crossed) return;
    const every = [now.added, now.ahead].find((added, i) => now.given + 1 + (i === 0 ? now.shown.words.length - now.given - 1 : 0) <= CROSSED);
    if (every === undefined) return;
    const of = signal("crossed");
    const asked = { given: state.text, added: every, tokens: q.tokens(app), ahead: false };
    now.crossed = await remembered(["crossed", asked], () => source.everyImportance(asked, of));
    if (now.hovered !== null) draw.hovered();
  }

  // The text goes on, word by word: `app.draw.writing` shows each with what else was likely, at a pace that can be read.
  async function goOn() {
    if (!source.live || !state.text.trim() || !now.model || q.reads(app)) return;
    await attempt(async () => {
      const of = signal("continue");
      const base = now.shown.base ?? now.shown;
      if (!q.translates(app) && !now.ahead) return; // the model ends the text here
      const given = state.text + (q.translates(app) ? "" : now.ahead);
      let grown = "";
      const shown = draw.writing(of, (piece) => {
        grown += piece;
        now.shown = { ...base, tail: `${base.tail}${q.translates(app) ? "\n" : ""}${grown}`, base };
      });
      now.steps = await remembered(["continue", given, q.settings(app)], async () => {
        const steps = [];
        await source.go_on(given, q.settings(app), (step) => (steps.push(step), shown.push(step)), of);
        return steps;
      });
      await shown.end(now.steps);
      const said = now.steps.map((step) => step.piece).join("");
      now.added = q.translates(app) ? said : now.ahead + said;
      const found = await cut({ added: now.added, ahead: false }, of);
      now.shown = q.translates(app) ? found : joined(base, found, said);
      now.crossed = null;
      draw.sentence();
    });
  }

  return { read, ask, next, goOn, cross, askAndCheck: async () => (await (await ask())(), attempt(cross)) };
}

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
