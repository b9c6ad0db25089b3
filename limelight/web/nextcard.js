// From what was written to the next word, in nine steps.
import { card, formula, kept, waiting } from "./card.js";
import { fill, h, percent, quoted, visible } from "./dom.js";

const STEPS = ["pieces", "vectors", "places", "questions", "shares", "sum", "layers", "chances", "choice"];

export const nextWord = {
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
