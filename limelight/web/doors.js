// The views behind the numbers: each says what it needs, gets it, and draws.
import { arcs } from "./arcs.js";
import { fill, h } from "./dom.js";
import { heads } from "./heads.js";
import { layers } from "./layers.js";
import { steps } from "./steps.js";
import { translation } from "./translation.js";
import { whatIf } from "./whatif.js";

const kept = { share: 0.5, unused: true, only: false, circle: false, pair: null };

// What is switched off, and the sentence in place of the one on the screen.
const change = { model: null, heads: [], layers: [], positions: true, instead: null, name: null, picked: [], of: null };

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

const attends = (model) => !model.translates && model.heads.length > 0; // a recurrent model has no heads to look into

// fits: whether a model has what the view shows.
export const doors = [
  {
    name: "words",
    title: "Words",
    fits: attends,
    says: "which words look at which, and which mattered",
    async draw(element, need) {
      if (!element.querySelector("canvas")) waiting(element, "Reading this layer");
      const found = await matrix(need);
      arcs(element, { ...need.data, matrix: found }, need.act, kept);
    },
  },
  {
    name: "heads",
    fits: attends,
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
    fits: (model) => attends(model) || model.translates,
    title: "What if",
    says: "switch parts off, change the sentence, and compare",
    async draw(element, { data, text, source, remembered, signal, again }) {
      const whole = data.model.translates ? text.given : text.given + text.added;
      const model = data.model.name;
      if (change.model !== model) Object.assign(change, { model, heads: [], layers: [], positions: true, name: null });
      if (change.of !== whole) Object.assign(change, { instead: null, picked: [], of: whole });
      const asked = text.ahead ? null : data.words[data.word].text; // of what comes next is asked anew
      const question = {
        text: change.instead ?? whole,
        asked,
        foil: data.foil,
        method: data.method,
        heads_off: change.heads,
        layers_off: change.layers,
        positions: change.positions,
        name: change.name,
        tokens: text.tokens,
      };
      const changed = change.name || change.heads.length || change.layers.length || !change.positions || (change.instead ?? whole) !== whole;
      const show = (after, progress) => whatIf(element, { ...data, text: whole, after, progress, changed, live: source.live }, change, again);
      if (!changed) return show(null, null);
      show(null, {});
      const bar = element.querySelector(".after progress");
      const tell = ({ done, total }) => bar && total > 1 && ((bar.max = total), (bar.value = done));
      try {
        show(await remembered(["what-if", question], () => source.whatIf(question, tell, signal)), null);
      } catch (error) {
        if (error.name === "AbortError") throw error;
        show({ error: error.message }, null);
      }
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
