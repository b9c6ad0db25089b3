// Six cards that tell how a transformer works, each on the visitor's own sentence and model, to be played or stepped.
import { attends, card, formula, kept, looks, waiting } from "./card.js";
import { nextWord } from "./nextcard.js";
import { recurrent } from "./racecard.js";
import { fill, h, note, percent, quoted, visible } from "./dom.js";
import { line, svg } from "./line.js";

// Three heads, one of which looks back at the words that the answer depends on, if there are any.
function spots({ data, text, source, remembered, signal }) {
  const toward = (data.importance?.named ?? []).slice(0, 1);
  return remembered(["spotlights", text, toward], () => source.spotlights(text, toward, signal));
}

// The word to begin with: one that stands for another, where there is one.
function first(words) {
  const found = words.findIndex((word) => /^(it|he|she|they|him|her|them)$/i.test(word));
  return found > 0 ? found : Math.max(1, words.length - 1);
}

const spotlight = {
  name: "spotlight",
  title: "The spotlight",
  says: "One word looks at all words before it, at some hard and at others hardly: this is self-attention. Nobody told it where to look; the model has learnt it.",
  formulas: [formula],
  async draw(element, { data, text, source, act, remembered, signal }) {
    waiting(element, "Looking where each word looks");
    const [back] = await spots({ data, text, source, remembered, signal });
    const words = data.words.map((word) => word.text);
    kept.spotlight ??= { at: first(words) - 1 };
    const made = card(element, this, act, words.length - 1, (step, drawing, told) => {
      const at = step + 1;
      const links = back.weights[at].slice(0, at).map((weight, to) => ({ from: at, to, weight })).filter(({ weight }) => weight > 0.02);
      line(drawing, words, links, at, (i) => i > 0 && i !== at && kept.spotlight.go(i - 1));
      const [best, second] = [...links].sort((a, b) => b.weight - a.weight);
      const rest = Math.max(0, 1 - back.weights[at].reduce((sum, weight) => sum + weight, 0));
      fill(told, best ? [h("b", {}, quoted(words[at])), " looks hardest at ", h("b", { class: "looks-text" }, quoted(words[best.to])), ` (${percent(best.weight)} of its attention)`, second && second.weight > 0.1 ? `, then at ${quoted(words[second.to])} (${percent(second.weight)})` : "", "."] : [h("b", {}, quoted(words[at])), " looks at no word before it."], rest > 0.3 ? ` The rest, ${percent(rest)}, it does not use.` : "");
    });
    kept.spotlight.go = (i) => act.player.step(i - kept.spotlight.at);
    made.controls.after(note(`This is head ${back.head} of layer ${back.layer}, the one that looks hardest at ${data.importance?.named?.length ? `${quoted(words[data.importance.named[0]])}, on which the answer hangs most` : "words further back"}. There are ${data.model.heads.reduce((a, b) => a + b, 0)} heads; most do something else (see “many spotlights”). Where a head looks is not yet what decides: that is what the amber light measures.`));
  },
};

const network = {
  name: "network",
  fits: looks,
  title: "The network",
  says: "Join every word with those that it looks at hardest, and a sentence becomes a web. That is what stands in place of grammar: the model knows of no nouns or verbs, only of such links.",
  formulas: ["Drawn is the largest share of attention that any head of any layer gives from one word to another; of each word the three strongest."],
  async draw(element, { data, source, act, remembered, signal }) {
    waiting(element, "Looking which words look at which");
    const found = await remembered(["network", data.given_text], () => source.network(data.given_text, signal));
    const n = found.words.length;
    const strongest = (i) => found.weights[i].map((weight, to) => ({ from: i, to, weight })).filter(({ to, weight }) => to !== i && weight > 0.1).sort((a, b) => b.weight - a.weight).slice(0, 3);
    const every = found.words.flatMap((_, i) => strongest(i));
    const made = card(element, this, act, n + 1, (step, drawing, told) => {
      const at = step === 0 ? null : step - 1;
      web(drawing, found.words, every, at, (i) => act.player.step(i + 1 - kept.network.at));
      const mine = at === null ? [] : strongest(at);
      fill(told, at === null ? "All words, each joined with the three that it looks at hardest." : mine.length ? [h("b", {}, quoted(found.words[at])), " is joined with ", mine.map(({ to, weight }) => `${quoted(found.words[to])} (${percent(weight)})`).join(", "), "."] : [h("b", {}, quoted(found.words[at])), " is joined with no other word."]);
    });
    made.controls.after(note(found.both ? `Drawn from ${found.model ?? "this model"}, which reads a text from both sides, so that a word also looks at what comes after it. A model that writes only sees what came before.` : "Drawn from this model, which only looks back: a word is joined with earlier ones. A model that reads from both sides (limelight pull minilm) shows links both ways."));
  },
};

// Words on a circle, links as chords.
function web(element, words, links, at, pick) {
  const [wide, high] = [Math.min(680, element.clientWidth || 680), 380];
  const drawing = svg("svg", { viewBox: `0 0 ${wide} ${high}`, class: "web", role: "img", "aria-label": "The words on a circle, joined by the strongest links" });
  const place = words.map((_, i) => {
    const turn = (2 * Math.PI * i) / words.length - Math.PI / 2;
    return { x: wide / 2 + (wide / 2 - 70) * Math.cos(turn), y: high / 2 + (high / 2 - 30) * Math.sin(turn), turn };
  });
  for (const { from, to, weight } of links) {
    const mine = at === null || from === at;
    const [a, b] = [place[from], place[to]];
    drawing.append(svg("path", { class: "looks", d: `M${a.x} ${a.y}Q${(a.x + b.x) / 4 + wide / 4} ${(a.y + b.y) / 4 + high / 4} ${b.x} ${b.y}`, "stroke-width": 1 + 4 * weight, opacity: mine ? 0.25 + 0.7 * weight : 0.05 }));
  }
  const joined = new Set(links.filter(({ from }) => from === at).map(({ to }) => to));
  words.forEach((text, i) => {
    const label = svg("text", { x: place[i].x, y: place[i].y, "text-anchor": "middle", "dominant-baseline": "middle", class: `web-word ${i === at ? "at" : ""} ${at !== null && i !== at && !joined.has(i) ? "far" : ""}` }, text);
    label.addEventListener("click", () => pick(i));
    drawing.append(label);
  });
  fill(element, drawing);
}

const KINDS = {
  back: ["It looks back", "past its neighbour, for the word that it has to do with"],
  before: ["It looks at its neighbour", "the word right before: what goes together"],
  rests: ["It rests", "it found nothing to do in this sentence"],
};

const spotlights = {
  name: "spotlights",
  title: "Many spotlights",
  says: "Each layer has several spotlights, called heads, and each has learnt to look for something else. Together they see what no single one does.",
  formulas: [formula, "The heads of a layer work side by side, each on a slice of the vectors; what they found is put together and added to what the word was before."],
  async draw(element, { data, text, source, act, remembered, signal }) {
    waiting(element, "Looking what the heads do");
    const found = await spots({ data, text, source, remembered, signal });
    const words = data.words.map((word) => word.text);
    kept.spotlights ??= { at: first(words) - 1 };
    card(element, this, act, words.length - 1, (step, drawing, told) => {
      const at = step + 1;
      const panels = found.map(() => h("div"));
      fill(drawing, h("div", { class: "panels" }, found.map(({ kind, layer, head }, i) => h("section", {}, h("h2", {}, KINDS[kind][0]), h("p", { class: "faint" }, `${KINDS[kind][1]} (head ${head} of layer ${layer})`), panels[i]))));
      found.forEach(({ weights }, i) => line(panels[i], words, weights[at].slice(0, at).map((weight, to) => ({ from: at, to, weight })).filter(({ weight }) => weight > 0.04), at));
      const best = found.map(({ weights }) => weights[at].slice(0, at).reduce((best, weight, to) => (weight > best.weight ? { weight, to } : best), { weight: 0, to: 0 }));
      fill(told, "At ", h("b", {}, quoted(words[at])), ` the three look at ${best.map(({ weight, to }) => (weight > 0.15 ? `${quoted(words[to])} (${percent(weight)})` : "nothing much")).join(", ")}.`);
    });
  },
};

const order = {
  name: "order",
  title: "GPS for words",
  says: "All words are read at once, so each carries its place with it, like a GPS signal. Put two words in each other's place, and what it says next changes. Take the places away, and it hardly notices.",
  formulas: ["Each place has its own code, which is added to the word's vector or turns its queries and keys by an angle (rotary embeddings). With it off, the products of queries and keys no longer depend on the distance. A model that writes still knows a little of the order, since no word sees later ones."],
  async draw(element, { data, source, act, remembered, signal }) {
    waiting(element, "Reading the words in another order, and without their places");
    const words = data.words.filter((word) => word.given);
    const places = words.map((_, i) => i).filter((i) => /\p{L}/u.test(words[i].text));
    const ask = async (given, positions) => (await remembered(["order", given, positions], () => source.guesses(given, positions, signal))).rows;
    const put = ([a, b]) => words.map((word, i) => word.gap + (i === a ? kase(words[b].text, a, b) : i === b ? kase(words[a].text, b, a) : word.text)).join("");
    const found = [await ask(data.given_text, true)];
    let [a, b, other] = [];
    for (const pair of swaps(words, places)) { // the first that changes the word; if none does, the one that does most
      const text = put(pair);
      const rows = await ask(text, true);
      const changes = rows[0].token !== found[0][0].token;
      if (changes || !found[1] || apart(found[0], rows) > apart(found[0], found[1])) [[a, b], other, found[1]] = [pair, text, rows];
      if (changes) break;
    }
    for (const given of [data.given_text, other]) found.push(await ask(given, false));
    const names = ["as it is", "two words swapped", "as it is, places off", "swapped, places off"];
    const texts = [data.given_text, other, data.given_text, other];
    card(element, this, act, 4, (step, drawing, told) => {
      fill(drawing, h("div", { class: "panels four" }, names.map((name, i) => h("section", { class: i <= step ? "" : "covered" }, h("h2", {}, name), h("p", { class: "order-text", dir: "auto" }, texts[i], " …"), h("ol", { class: "bars-list" }, found[i].slice(0, 4).map((row) => h("li", {}, h("span", { class: "token" }, visible(row.token)), h("span", { class: "bar", style: { "--w": row.share } }), h("span", { class: "number" }, percent(row.share)))))))));
      const [on, off] = [apart(found[0], found[1]), apart(found[2], found[3])];
      fill(told, [
        `As it is, the model says ${quoted(visible(found[0][0].token))}.`,
        `With ${quoted(words[a].text)} and ${quoted(words[b].text)} swapped: ${quoted(visible(found[1][0].token))}. Of its guesses ${percent(on)} moved.`,
        `Without places it says ${quoted(visible(found[2][0].token))}: it knows the words, but not how they stand.`,
        `Swapped as well, only ${percent(off)} of its guesses move, beside ${percent(on)} before${off < on ? ": the order has all but vanished" : ". This text is one where the order stays visible"}.`,
      ][step]);
    });
    // A word as it is written at the place i, when it comes from the place `from`.
    function kase(text, i, from) {
      return i === 0 ? text[0].toUpperCase() + text.slice(1) : /^\p{Lu}\p{Ll}+$/u.test(text) && from === 0 && words.filter((word) => word.text === text).length === 1 && COMMON.test(text) ? text.toLowerCase() : text;
    }
  },
};

const SWAPS = 6; // pairs that are tried

const COMMON = /^(the|a|an|my|your|his|her|our|in|on|it|he|she|we|they|you|and|but|if|when|why|what|who)$/i;

// How much of the chances is given otherwise, from 0 to 1, as far as the likeliest tell.
function apart(one, two) {
  const share = new Map(two.map((row) => [row.token, row.share]));
  return one.reduce((sum, row) => sum + Math.abs(row.share - (share.get(row.token) ?? 0)), 0) / 2;
}

// Pairs of words to swap, the likeliest to tell first: those that say something and differ, the first of them with the
// last, then nearer ones.
function swaps(words, places) {
  const telling = places.filter((i) => words[i].text.length > 2 && !COMMON.test(words[i].text));
  const list = telling.length > 1 ? telling : places;
  const pairs = list.flatMap((a, n) => list.slice(n + 1).reverse().map((b) => [a, b])).filter(([a, b]) => words[a].text !== words[b].text);
  return pairs.length ? pairs.slice(0, SWAPS) : [[0, 0]];
}

export const CARDS = [spotlight, network, spotlights, order, recurrent, nextWord].map((one) => ({ fits: attends, ...one, plays: true }));
