// The views behind the numbers: each says what it needs, gets it, and draws.
import { arcs } from "./arcs.js";
import { fill, h } from "./dom.js";
import { heads } from "./heads.js";

const kept = { share: 0.5, sink: false, only: false, pair: null };

const waiting = (element, what) => fill(element, h("p", { class: "waiting", role: "status" }, what, h("progress")));

// One head of a layer that comes with all its heads.
async function matrix({ data, text, source, remembered, signal }) {
  const n = data.words.length;
  const all = await remembered(["attention", text, data.layer], () => source.attention(text, data.layer, signal));
  return all.subarray(data.head * n * n, (data.head + 1) * n * n);
}

export const doors = [
  {
    name: "words",
    title: "Words",
    says: "which words look at which, and which mattered",
    async draw(element, need) {
      if (!element.querySelector("canvas")) waiting(element, "Reading this layer");
      const found = await matrix(need);
      arcs(element, { ...need.data, matrix: found }, need.act, kept);
    },
  },
  {
    name: "heads",
    title: "Heads",
    says: "all heads, and what each looks for",
    async draw(element, need) {
      const { data, text, source, act, remembered, signal } = need;
      if (!element.querySelector("canvas")) waiting(element, "Reading all heads");
      const [source_, target] = pair(data);
      const found = await matrix(need);
      const weights = await remembered(["linking", text, source_, target], () => source.linking(text, source_, target, signal));
      const choose = (a, b) => {
        kept.pair = [a, b];
        this.draw(element, need);
      };
      heads(element, { ...data, heads: data.model.heads, weights, source: source_, target, matrix: found, roles: null }, { ...act, pair: choose });
    },
  },
];

// The words whose link is looked for: those of the strongest link to what mattered, if the reader chose no others.
function pair(data) {
  const fits = kept.pair?.every((i) => i < data.words.length);
  if (fits) return kept.pair;
  const link = data.importance?.links[0];
  return link ? [link.source, link.target] : [data.word, Math.max(0, data.word - 1)];
}
