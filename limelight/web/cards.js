// Six cards that tell how a transformer works, each on the visitor's own sentence and model, to be played or stepped.
import { fill, h, note, percent, quoted, visible } from "./dom.js";
import { line, svg } from "./line.js";
import { player } from "./player.js";

const kept = {}; // where each card stands, by its name

const waiting = (element, what) => fill(element, h("p", { class: "waiting", role: "status" }, what, h("progress")));

// A card: what it says in plain sentences, the drawing, the player, and formulas for those who want them.
function card(element, { name, says, formulas }, act, count, show) {
  const told = h("p", { class: "told", role: "status" });
  const drawing = h("div", { class: "drawing" });
  const controls = h("div", { class: "player" });
  fill(element, h("section", { class: "card" }, h("p", { class: "lead" }, says), drawing, told, controls, formulas && h("details", { class: "how" }, h("summary", {}, "With formulas"), formulas.map((one) => h("p", {}, one)))));
  kept[name] ??= { at: 0 };
  player(controls, act, count, (i) => show(i, drawing, told), kept[name]);
  return { drawing, told, controls };
}

const attends = (model) => !model.translates && model.heads.length > 0;

const formula = "softmax(q · k / √d): each word asks with a query q; each earlier word answers with a key k; their products, made to sum to 1, are the shares. What is passed on is the sum of the values v of all words, by those shares.";

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
    made.controls.after(note(found.model ? `Drawn from ${found.model}, a model that reads a text from both sides, so that a word also looks at what comes after it. A model that writes only sees what came before.` : "Drawn from this model, which only looks back: a word is joined with earlier ones. A model that reads from both sides (limelight pull minilm) shows links both ways."));
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
  says: "All words are read at once, so each carries its place with it, like a GPS signal. Put two words in each other's place, and the model says something else. Take the places away, and it hardly notices.",
  formulas: ["Each place has its own code, which is added to the word's vector or turns its queries and keys by an angle (rotary embeddings). With it off, the products of queries and keys no longer depend on the distance. A model that writes still knows a little of the order, since no word sees later ones."],
  async draw(element, { data, source, act, remembered, signal }) {
    waiting(element, "Reading the words in another order, and without their places");
    const words = data.words.filter((word) => word.given);
    const places = words.map((_, i) => i).filter((i) => /\p{L}/u.test(words[i].text));
    const [a, b] = swapped(words, places);
    const other = words.map((word, i) => word.gap + (i === a ? kase(words[b].text, a) : i === b ? kase(words[a].text, b) : word.text)).join("");
    const ask = (given, positions) => remembered(["order", given, positions], () => source.guesses(given, positions, signal));
    const found = [];
    for (const [given, positions] of [[data.given_text, true], [other, true], [data.given_text, false], [other, false]]) found.push((await ask(given, positions)).rows);
    const names = ["as it is", "two words swapped", "as it is, places off", "swapped, places off"];
    const texts = [data.given_text, other, data.given_text, other];
    const apart = (one, two) => {
      const share = new Map(two.map((row) => [row.token, row.share]));
      return one.reduce((sum, row) => sum + Math.abs(row.share - (share.get(row.token) ?? 0)), 0) / 2;
    };
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
    function kase(text, i) {
      return i === 0 ? text[0].toUpperCase() + text.slice(1) : /^\p{Lu}\p{Ll}+$/u.test(text) && (i === a ? b : a) === 0 && words.filter((word) => word.text === text).length === 1 && COMMON.test(text) ? text.toLowerCase() : text;
    }
  },
};

const COMMON = /^(the|a|an|my|your|his|her|our|in|on|it|he|she|we|they|you|and|but|if|when|why|what|who)$/i;

// Two words to swap: the first and the last that say something and differ.
function swapped(words, places) {
  const telling = places.filter((i) => words[i].text.length > 2 && !COMMON.test(words[i].text));
  const list = telling.length > 1 ? telling : places;
  const first = list[0] ?? 0;
  return [first, list.findLast((i) => words[i].text !== words[first]?.text) ?? first];
}

const recurrent = {
  name: "recurrent",
  title: "One by one, or all at once",
  says: "Before 2017 models read like this (above): word by word, passing one memory along, so that what came early fades. A transformer (below) looks straight at every word, however far away. That is why it replaced what was before.",
  formulas: ["Recurrent: h(t) = f(h(t−1), x(t)): n steps one behind the other, one state of fixed size. A transformer: n² products of queries and keys, all at the same time, and keys and values of all n words kept."],
  async draw(element, { data, act }) {
    const words = data.words.map((word) => word.text).slice(0, 16);
    const n = words.length;
    const made = card(element, this, act, n, (step, drawing, told) => {
      const [wide, gap] = [Math.max(300, drawing.clientWidth || 700), 0];
      const each = (wide - 20) / n;
      const at = (i) => 10 + each * (i + 0.5) + gap;
      const picture = svg("svg", { viewBox: `0 0 ${wide} 250`, class: "race", role: "img", "aria-label": "A recurrent model passes a memory from word to word; a transformer joins all words with the last" });
      const label = (y, i, strength) => {
        const text = svg("text", { x: at(i), y, "text-anchor": "middle", class: "race-word", opacity: strength, "font-size": Math.min(16, each / 4.2 + 4) }, words[i].length > 9 ? `${words[i].slice(0, 8)}…` : words[i]);
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
    made.controls.after(note("Drawn from how the two are built; how fast the memory fades differs from model to model and is only suggested here."));
  },
};

const STEPS = ["pieces", "vectors", "places", "questions", "shares", "sum", "layers", "chances", "choice"];

const nextWord = {
  name: "next-word",
  title: "The next word",
  says: "From what you wrote to the next word in nine steps; then the word is put behind the text, and it all begins again.",
  formulas: [formula, "The last vector times the matrix of all tokens gives a score (logit) for each; softmax makes chances of them. The door “Steps” shows every number."],
  async draw(element, { data, text, source, act, remembered, signal }) {
    waiting(element, "Following the last word through the model");
    const place = Math.max(0, data.word - 1);
    const found = await remembered(["steps", text, place, data.layer, data.head, null], () => source.steps(text, place, data.layer, data.head, null, signal));
    const words = data.words.map((word) => word.text);
    const asks = words[place];
    const says = words[data.word] ?? "…";
    const rows = (data.next?.word === data.word ? data.next.rows : []).slice(0, 5);
    const pieces = found.tokens.tokens ?? data.words.flatMap((word) => word.tokens);
    const strip = (values) => h("div", { class: "vector", "aria-hidden": "true" }, values.slice(0, 48).map((value) => h("i", { style: { "--v": Math.min(1, Math.abs(value) / (Math.max(...values.slice(0, 48).map(Math.abs)) || 1)) }, class: value < 0 ? "minus" : "" })));
    const query = found.projected.query;
    const before = found.projected.query_before ?? query;
    const weights = found.weights.values;
    const offset = weights.length - data.words.slice(0, place + 1).reduce((sum, word) => sum + word.tokens.length, 0);
    const byWord = data.words.slice(0, place + 1).map((word, i) => {
      const from = offset + data.words.slice(0, i).reduce((sum, one) => sum + one.tokens.length, 0);
      return weights.slice(from, from + word.tokens.length).reduce((a, b) => a + b, 0);
    });
    const bars = (list) => h("ol", { class: "bars-list" }, list.map(({ token, share, own }) => h("li", { class: own ? "own" : "" }, h("span", { class: "token" }, token), h("span", { class: "bar", style: { "--w": share } }), h("span", { class: "number" }, percent(share)))));
    const shares = byWord.map((share, i) => ({ token: words[i], share, own: i === place })).sort((a, b) => b.share - a.share).slice(0, 6);
    const unused = 1 - shares.reduce((sum, { share }) => sum + share, 0);
    if (unused > 0.01) shares.push({ token: byWord.length > 6 ? "the rest, and unused" : "unused", share: unused });
    const layers = data.model.heads.length;
    const shown = [
      ["The text is cut into pieces (tokens) that the model knows.", () => h("p", {}, pieces.slice(-24).map((piece) => h("span", { class: "piece" }, visible(String(piece)))))],
      [`Each piece becomes a list of numbers, a vector: here the first of those for ${quoted(asks)}, from which the model asks.`, () => strip(before)],
      ["Its place in the text is worked into the numbers, so that order counts.", () => h("div", {}, strip(before), h("p", { class: "faint" }, "turned by its place:"), strip(query))],
      [`${quoted(asks)} asks a question of all words before it: is one of you what I need?`, () => h("p", { class: "asking" }, words.slice(0, place + 1).map((word, i) => [h("span", { class: i === place ? "piece here" : "piece" }, word), " "]).flat())],
      ["The answers become shares that sum to one: how hard it looks at each word.", () => bars(shares)],
      ["What those words hold is added up by these shares, and carried over to the word that asked.", () => h("p", { class: "asking" }, shares.filter(({ token, share }) => share > 0.03 && words.includes(token)).map(({ token, share }, i) => [i ? " + " : "", h("b", {}, percent(share)), ` of ${quoted(token)}`]).flat())],
      [`Many heads do this side by side, then a small network thinks it over; and that ${layers} times, layer upon layer.`, () => h("div", { class: "tower", "aria-hidden": "true" }, Array.from({ length: Math.min(layers, 40) }, (_, i) => h("i", { style: { "--i": i } })))],
      ["The last vector is compared with every piece that the model knows: each gets a chance.", () => (rows.length ? bars(rows.map((row) => ({ token: visible(row.token), share: row.share }))) : h("p", {}, "…"))],
      [`One of them is chosen, ${quoted(says)}, and put behind the text. Then all of it begins again, for the word after it. ↺`, () => h("p", { class: "asking" }, words.slice(0, data.word).join(" "), " ", h("span", { class: "piece here" }, says), " ↺")],
    ];
    card(element, this, act, STEPS.length, (step, drawing, told) => {
      fill(drawing, h("ol", { class: "path", "aria-label": "The nine steps" }, STEPS.map((name, i) => h("li", { class: i === step ? "here" : i < step ? "done" : "" }, h("button", { onclick: () => act.player.step(i - kept["next-word"].at) }, name)))), h("div", { class: "frame" }, shown[step][1]()));
      fill(told, shown[step][0]);
    });
  },
};

export const CARDS = [spotlight, network, spotlights, order, recurrent, nextWord].map((one) => ({ ...one, fits: attends, plays: true }));
