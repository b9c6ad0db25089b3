// The views behind the numbers: each says what it needs, gets it, and draws.
import { arcs } from "./arcs.js";
import { fill, h } from "./dom.js";
import { heads } from "./heads.js";
import { inside, kindOf, STEER } from "./inside.js";
import { layers } from "./layers.js";
import { steer } from "./steer.js";
import { steps } from "./steps.js";
import { translation } from "./translation.js";
import { change, whatIf } from "./whatif.js";

const kept = { share: 0.5, unused: true, only: false, circle: false, pair: null };

const picks = { list: [], of: null }; // words that are chosen to be changed

const waiting = (element, what) => fill(element, h("p", { class: "waiting", role: "status" }, what, h("progress")));

const MANY = 250; // words, from which on heads are fetched one by one

// One head of a layer, which mostly comes with all its heads.
async function matrix({ data, text, source, remembered, signal }) {
  const n = data.words.length;
  if (n > MANY && source.live) {
    const key = JSON.stringify([data.model.name, text, data.layer, data.head]);
    if (kept.large?.key !== key) kept.large = { key, weights: await source.attention(text, data.layer, data.head, signal) }; // one is megabytes
    signal.throwIfAborted();
    return kept.large.weights;
  }
  const all = await remembered(["attention", text, data.layer], () => source.attention(text, data.layer, null, signal));
  return all.subarray(data.head * n * n, (data.head + 1) * n * n);
}

const looks = (model) => !model.translates && model.heads.length > 0; // a recurrent model has no heads to look into
const attends = (model) => looks(model) && !model.reads; // what encoders have no use for: they do not write

// fits: whether a model has what the view shows. asks: whether it needs a server.
export const doors = [
  {
    name: "words",
    title: "Words",
    fits: looks,
    says: "which words look at which, and which mattered",
    async draw(element, need) {
      if (!element.querySelector("canvas")) waiting(element, "Reading this layer");
      const found = await matrix(need);
      arcs(element, { ...need.data, matrix: found }, need.act, kept);
    },
  },
  {
    name: "heads",
    fits: looks,
    title: "Heads",
    says: "all heads, and what each looks for",
    async draw(element, need) {
      const { data, text, source, act, remembered, signal, again } = need;
      if (!element.querySelector("canvas")) waiting(element, "Reading all heads");
      const [source_, target] = pair(data);
      const found = await matrix(need);
      const weights = await remembered(["linking", text, source_, target], () => source.linking(text, source_, target, signal));
      const choose = (a, b) => {
        kept.pair = [a, b];
        again();
      };
      const show = (roles) =>
        heads(element, { ...data, heads: data.model.heads, weights, source: source_, target, matrix: found, roles }, { ...act, pair: choose });
      if (data.model.reads) return show(false); // what heads of encoders do is not measured
      if (kept.measured !== data.model.name) show(null); // measuring what heads do takes a while, once a model
      const roles = await remembered(["roles"], () => source.roles(signal));
      kept.measured = data.model.name;
      show(roles);
    },
  },
  {
    name: "steps",
    fits: attends,
    title: "Steps",
    says: "the nine steps, with this sentence's numbers",
    async draw(element, { data, text, source, remembered, signal, again }, other = null) {
      if (!element.querySelector(".steps")) waiting(element, "Following the word through the model");
      const place = Math.max(0, data.word - 1); // the model asks from the word before
      const found = await remembered(["steps", text, place, data.layer, data.head, other], () => source.steps(text, place, data.layer, data.head, other, signal));
      steps(element, { ...data, found, place }, { other: again });
    },
  },
  {
    name: "layers",
    fits: attends,
    title: "Layers",
    says: "what each layer would have said",
    async draw(element, { data, text, source, remembered, signal }) {
      waiting(element, "Asking every layer what it would say");
      const bar = element.querySelector("progress");
      const tell = ({ done, total }) => ((bar.max = total), (bar.value = done));
      layers(element, { ...data, lens: await remembered(["lens", text, data.word], () => source.lens(text, data.word, tell, signal)) });
    },
  },
  {
    name: "what-if",
    fits: () => true,
    title: "What if",
    says: "switch parts off, change the sentence, and compare",
    async draw(element, { data, text, state, source, act, remembered, signal, again }) {
      const whole = data.model.translates ? text.given : text.given + text.added;
      const now = change(state);
      const place = `${data.model.name} ${now.instead ?? whole}`;
      if (picks.of !== place) Object.assign(picks, { list: [], of: place });
      const asked = text.ahead || data.reads ? null : data.words[data.word].text; // of what comes next is asked anew
      const question = {
        text: now.instead ?? whole,
        asked: data.reads && ["masked", "tags"].includes(data.reads.kind) ? data.words[data.word].text : asked,
        foil: data.foil,
        method: data.method,
        heads_off: now.heads,
        layers_off: now.layers,
        positions: now.positions,
        name: now.name,
        tokens: text.tokens,
        beside: text.beside ?? "",
      };
      const changed = now.name || now.heads.length || now.layers.length || !now.positions || now.instead !== null;
      const chooses = !data.model.translates && (!data.reads || data.reads.kind === "masked");
      const likely = chooses ? async (given, j) => {
        const next = await remembered(["next", given, j, data.settings], () => source.next({ ...text, given, added: "", ahead: false }, j, data.settings, signal));
        return next.rows.map((row) => row.token.trim()).filter((token, i, all) => /^[\p{L}\p{M}\p{N}]+$/u.test(token) && all.indexOf(token) === i).slice(0, 5);
      } : null;
      const show = (after) => whatIf(element, { ...data, text: whole, after, changed }, now, picks, act, () => show(after), likely);
      show(null);
      if (!changed) return;
      const bar = element.querySelector(".after progress");
      const tell = ({ done, total, first }) => {
        if (first && !signal.aborted) show(first);
        else if (bar && total > 1) [bar.max, bar.value] = [total, done];
      };
      try {
        show(await remembered(["what-if", question], () => source.whatIf(question, tell, signal)));
      } catch (error) {
        if (error.name === "AbortError") throw error;
        show({ error: error.message });
      }
    },
  },
  {
    name: "inside",
    title: "Inside",
    asks: true, // the server, for more than a file can hold
    fits: attends,
    says: "which parts of the network add to the answer, carry it, or are needed for it",
    async draw(element, { data, text, state, source, act, remembered, signal }) {
      const kind = kindOf(state);
      if (kind === STEER) {
        const asked = { ...text, word: data.word, vector: state.vector, strength: state.strength };
        steer(element, { ...data, strength: state.strength, found: null }, act);
        return steer(element, { ...data, strength: state.strength, found: await remembered(["steer", asked], () => source.steer(asked, signal)) }, act);
      }
      const bar = h("progress");
      inside(element, { ...data, kind, found: null }, act, h("p", { class: "waiting", role: "status" }, "Measuring inside the network", bar));
      if (data.word === 0) throw new Error("Nothing stands in front of the first word; choose another.");
      const patched = kind === "carries" || kind === "brings";
      const asked = { ...text, word: data.word, foil: data.foil, kind, changed: patched ? (data.importance?.named?.[0] ?? null) : null, instead: patched ? state.instead : null };
      const tell = ({ done, total }) => total > 1 && ((bar.max = total), (bar.value = done));
      const found = await remembered(["inside", asked], () => source.inside(asked, tell, signal));
      inside(element, { ...data, kind, found }, act);
    },
  },
  {
    name: "translation",
    title: "Translation",
    says: "which words of the source each word of the translation comes from",
    fits: (model) => model.translates,
    async draw(element, { data, text, source, act, remembered, signal }) {
      if (!text.added) return fill(element, h("p", { class: "waiting", role: "status" }, "Translating", h("progress")));
      if (!element.querySelector("canvas")) waiting(element, "Replacing each word, for every word of the translation");
      const bar = element.querySelector("progress");
      const tell = ({ done, total }) => bar && ((bar.max = total), (bar.value = done));
      const found = await remembered(["translation", text], () => source.translation(text, tell, signal));
      act.aligned(found.layer);
      translation(element, { ...data, ...found, layer: data.chosen ?? found.layer }, act);
    },
  },
];

// The words whose link is looked for: from where the model asks to what mattered most, if the reader chose no others.
function pair(data) {
  if (kept.pair?.every((i) => i < data.words.length)) return kept.pair;
  const { importance, word } = data;
  const asks = Math.max(0, word - 1);
  const { source, target } = importance?.telling ?? { source: asks, target: 0 };
  return [source, target];
}
