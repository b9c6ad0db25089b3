// The nine steps from a text to its next word, for one word and one head, with this sentence's numbers.
import { colours, sheet } from "./draw.js";
import { fill, h, note, percent, quoted, visible } from "./dom.js";

const SHOWN = 12; // rows of the table of scores
const number = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2)).replace("-", "−");
const length = (vector) => Math.hypot(...vector);

// data: { words, place, layer, head, found (see limelight.look.steps) }. act: { other(token) }.
export function steps(element, { words, place, layer, head, found, live }, act) {
  const strips = [];
  const strip = (label, vector) => {
    const canvas = h("canvas", { class: "strip", role: "img", "aria-label": `${label}: ${vector.length} numbers of length ${number(length(vector))}` });
    strips.push([canvas, vector]);
    return [h("span", { title: `${vector.length} numbers` }, label), canvas];
  };
  const { tokens, embedded, placed, projected, scores, weights, joined, added, output, other } = found;
  const own = quoted(visible(tokens.text[tokens.place]));
  const that = quoted(visible(tokens.text[other]));
  const order = weights.values.map((_, i) => i).filter((i) => i <= tokens.place).sort((a, b) => weights.values[b] - weights.values[a]).slice(0, SHOWN);
  const step = (title, ...body) => h("li", {}, h("h2", {}, title), body);
  const turned = placed.angles.length > 0;
  const terms = projected.query.map((q, i) => q * projected.key[i]);
  const largest = terms.map((_, i) => i).sort((a, b) => Math.abs(terms[b]) - Math.abs(terms[a])).slice(0, 3);
  fill(
    element,
    h("p", { class: "said" }, `From ${quoted(words[place].text)}, where the model asks what comes next, through head ${head} of layer ${layer}. ↑ ↓ and [ ] choose another.`),
    h("ol", { class: "steps" },
      step("Tokens", h("div", {}, tokens.text.slice(Math.max(0, tokens.place - 30), tokens.place + 1).map((text, i, all) => h("span", { class: `piece ${i === all.length - 1 ? "here" : ""}` }, visible(text)))),
        note(`The text in pieces, each with a number in the vocabulary: ${own} is number ${tokens.ids[tokens.place].toLocaleString("en")}. The piece in front marks where the text begins.`)),
      step("Embedding", h("div", { class: "strips" }, strip(visible(tokens.text[tokens.place]), embedded.vector)),
        note(`${own} as ${embedded.vector.length.toLocaleString("en")} learned numbers${embedded.scale === 1 ? "" : `, times ${number(embedded.scale)}`}. Above the middle: positive; below it: negative; the darker, the larger.`)),
      step("Position", turned ? h("p", { class: "sum" }, `place ${tokens.place}: pairs of numbers turn by ${[...placed.angles].slice(0, 3).map(number).join(", ")} … ${number(placed.angles.at(-1))} radians`) : h("div", { class: "strips" }, strip("adds", placed.added)),
        note(turned ? "Where a piece stands is turned into its queries and keys, fast pairs first (rotary positions), so that only distances count." : "Where a piece stands is added to its vector.")),
      step("Queries, keys, values", h("div", { class: "strips" }, strip("it asks", projected.query), strip(`${visible(tokens.text[other])} offers`, projected.key), strip("and holds", projected.value)),
        note(`In this head every piece makes ${projected.query.length} numbers that ask, as many that answer, and as many that say what it holds.${projected.sharing > 1 ? ` ${projected.sharing} heads share one set of answers: this one uses set ${projected.kv_head}.` : ""}`)),
      step("Scores", h("p", { class: "sum" }, `${largest.map((i) => `${number(projected.query[i])} × ${number(projected.key[i])}`).join(" + ")} + … = ${number(scores.products[other])}`, h("br"), `${number(scores.products[other])} × ${scores.scale.toFixed(3)} = ${number(scores.cap ? scores.products[other] * scores.scale : scores.values[other])}${scores.cap ? `, capped ${number(scores.values[other])}` : ""}`),
        note(`How well ${that} answers ${own}: the numbers are multiplied pair by pair and added up, then scaled so that the sum does not grow with the number of terms.`)),
      step("Mask and softmax", h("table", { class: "shares" }, h("tbody", {}, order.map((i) => h("tr", {}, h("td", {}, h("button", { disabled: !live, onclick: () => act.other(i), "aria-label": `show ${visible(tokens.text[i])}` }, i === other ? h("b", {}, visible(tokens.text[i])) : visible(tokens.text[i]))), h("td", {}, number(scores.values[i])), h("td", { class: "bar" }, h("span", { class: "fill", style: { "--w": weights.values[i] } })), h("td", {}, percent(weights.values[i])))))),
        h("p", { class: "sum" }, `exp(${number(scores.values[other])} − ${number(weights.highest)}) / ${number(weights.total)} = ${percent(weights.values[other])}`),
        note(`Pieces behind ${own} are masked: a word cannot look ahead.${weights.window ? ` Nor further back than ${weights.window} pieces.` : ""} Scores become shares that add up to 100 %. Choose a piece to see its sum.`)),
      step("Weighted sum, heads joined", h("div", { class: "strips" }, strip("heard", joined.heard), strip("adds", joined.own)),
        note("What the pieces hold, mixed by those shares; then what this head alone adds to the word, through the matrix that joins the heads.")),
      step("Feed-forward and residual", h("div", { class: "strips" }, strip("before", added.before), strip("+ attention", added.attention), strip("+ feed-forward", added.feedforward), strip("after", added.after)),
        note(`${added.order === "post" ? "The layer adds, and normalises after each part" : "The layer only ever adds"}: lengths ${number(length(added.before))}, ${number(length(added.attention))} and ${number(length(added.feedforward))} make ${number(length(added.after))}. All layers do the same, one after the other.`)),
      step("Logits and probabilities", h("table", { class: "shares" }, h("tbody", {}, output.top.slice(0, 6).map(([token, logit, share]) => h("tr", {}, h("td", {}, visible(token)), h("td", {}, number(logit)), h("td", { class: "bar" }, h("span", { class: "fill plain-fill", style: { "--w": share } })), h("td", {}, percent(share)))))),
        note(`What comes out of the last layer is compared with every token of the vocabulary; exp(logit − ${number(output.total)}) is the probability of that token.`))),
  );
  const c = colours(element);
  for (const [canvas, vector] of strips) paint(canvas, vector, c);
}

// A vector as a strip of columns; more numbers than pixels are gathered by their largest.
function paint(canvas, vector, c) {
  const wide = Math.max(40, Math.floor(canvas.clientWidth));
  const g = sheet(canvas, wide, 18);
  const columns = Math.min(vector.length, wide);
  const most = Math.max(...vector.map(Math.abs), 1e-9);
  for (let column = 0; column < columns; column++) {
    const part = vector.slice(Math.floor((column * vector.length) / columns), Math.floor(((column + 1) * vector.length) / columns));
    const value = part.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    g.globalAlpha = Math.sqrt(Math.abs(value) / most);
    g.fillStyle = value > 0 ? c.ink : c.grey;
    g.fillRect((column * wide) / columns, value > 0 ? 0 : 9, Math.ceil(wide / columns), 9);
  }
  canvas.title = vector.slice(0, 12).map(number).join("  ") + (vector.length > 12 ? " …" : "");
}
