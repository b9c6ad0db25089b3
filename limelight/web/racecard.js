// Word by word beside all at once: drawn from how the two are built, with what a race on this machine measured.
import { card } from "./card.js";
import { fill, h, note, percent, quoted } from "./dom.js";
import { svg } from "./line.js";

const NARROWEST = 56; // pixels that a word has at least: nine letters that can be read

export const recurrent = {
  name: "recurrent",
  fits: (model) => !model.translates && !model.reads,
  title: "One by one, or all at once",
  says: "Before 2017 models read like this (above): word by word, passing one memory along, so that what came early fades. A transformer (below) looks straight at every word, however far away. That is why it replaced what was before.",
  formulas: ["Recurrent: h(t) = f(h(t−1), x(t)): n steps one behind the other, one state of fixed size. A transformer: n² products of queries and keys, all at the same time, and keys and values of all n words kept."],
  async draw(element, { data, source, act, remembered, signal }) {
    const race = await remembered(["race"], () => source.race(signal));
    const room = Math.floor((element.clientWidth || 700) / NARROWEST);
    const words = data.words.map((word) => word.text).slice(0, Math.max(4, Math.min(16, room)));
    const n = words.length;
    const made = card(element, this, act, n, (step, drawing, told) => {
      const wide = Math.max(300, drawing.clientWidth || 700);
      const each = (wide - 20) / n;
      const at = (i) => 10 + each * (i + 0.5);
      const picture = svg("svg", { viewBox: `0 0 ${wide} 250`, class: "race", role: "img", "aria-label": "A recurrent model passes a memory from word to word; a transformer joins all words with the last" });
      const label = (y, i, strength) => {
        const text = svg("text", { x: at(i), y, "text-anchor": "middle", class: "race-word", opacity: strength, "font-size": Math.min(16, each / 4.6) }, words[i].length > 9 ? `${words[i].slice(0, 8)}…` : words[i]);
        picture.append(text);
      };
      words.forEach((_, i) => {
        const left = i > step ? 0 : 0.75 ** (step - i); // how much of a word is left in the memory, as a drawing
        label(86, i, i > step ? 0.25 : 1);
        if (i <= step) picture.append(svg("circle", { cx: at(i), cy: 44, r: Math.min(15, each / 3), class: "cell", "fill-opacity": left }));
        if (i < step) picture.append(svg("path", { d: `M${at(i) + Math.min(15, each / 3) + 2} 44H${at(i + 1) - Math.min(15, each / 3) - 2}`, class: "pass", opacity: 0.3 + 0.7 * left }));
        label(230, i, 1);
        if (i < step) picture.append(svg("path", { class: "looks", d: `M${at(step)} 210C${at(step)} ${210 - Math.min(90, 20 + 8 * (step - i) ** 1.1)} ${at(i)} ${210 - Math.min(90, 20 + 8 * (step - i) ** 1.1)} ${at(i)} 210`, "stroke-width": 2, opacity: 0.75 }));
      });
      fill(drawing, picture);
      fill(told, step === 0 ? "The first word." : [`At ${quoted(words[step])} the recurrent model has taken ${step + 1} steps, one behind the other, and ${quoted(words[0])} has been mixed into its memory ${step} ${step === 1 ? "time" : "times"}. The transformer reaches ${quoted(words[0])} in a single look, and read all ${step + 1} words at the same time; for that it keeps all ${step + 1} of them in memory, where the other keeps one.`]);
    });
    const found = race && raced(race);
    if (found) made.controls.after(found);
    made.controls.after(note("Drawn from how the two are built; how fast the memory fades differs from model to model and is only suggested here."));
  },
};

// The best of either kind in a race: what it remembers, what it keeps, how long it reads. What keeps as much of a long
// text as of a short one reads word by word.
function raced({ name, recall, costs }) {
  const lengths = (who) => Object.keys(costs[who]).map(Number).sort((a, b) => a - b);
  const known = Object.keys(recall).filter((who) => costs[who] && lengths(who).length > 1);
  const kept = (who, at) => costs[who][at].kept;
  const byWord = (who) => kept(who, lengths(who).at(-1)) === kept(who, lengths(who)[0]);
  const mean = (who) => Object.values(recall[who]).reduce((a, b, _, all) => a + b / all.length, 0);
  const best = [true, false].map((kind) => known.filter((who) => byWord(who) === kind).sort((a, b) => mean(b) - mean(a))[0]);
  if (!best[0] || !best[1]) return null;
  const tests = Object.keys(recall[best[1]]).filter((at) => at in recall[best[0]]);
  const hardest = tests.filter((at) => /fact/.test(at)).sort((a, b) => parseInt(b) - parseInt(a))[0] ?? tests.at(-1);
  const long = Math.min(...best.map((who) => lengths(who).at(-1)));
  const bytes = (value) => (value < 10_000 ? `${(value / 1000).toFixed(1)} kB` : value < 1e6 ? `${Math.round(value / 1000)} kB` : `${(value / 1e6).toFixed(1)} MB`);
  const seconds = (value) => `${Number((1000 * value).toPrecision(2)).toLocaleString("en")} ms`;
  const row = (title, value) => h("tr", {}, h("th", { scope: "row" }, title), best.map((who) => h("td", {}, value(who))));
  return h("table", { class: "raced" },
    h("caption", {}, `Measured on this machine, in the race “${name}” (the best of each kind)`),
    h("thead", {}, h("tr", {}, h("td", {}), best.map((who, i) => h("th", { scope: "col" }, `${i ? "all at once" : "word by word"}: ${who}`)))),
    h("tbody", {},
      row(`remembers (${hardest})`, (who) => percent(recall[who][hardest])),
      row(`keeps of ${long.toLocaleString("en")} tokens`, (who) => bytes(kept(who, long))),
      row(`reads ${long.toLocaleString("en")} tokens in`, (who) => seconds(costs[who][long].read))));
}
