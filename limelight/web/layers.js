// What each layer would have said, were it the last: words across, layers down.
import { colours, sheet } from "./draw.js";
import { fill, h, note, percent, quoted, visible } from "./dom.js";

// data: { words, word, lens { read [n], following [n], layers [L][n] { top, entropy, rank, probability }, asked [] } }
export function layers(element, { words, word, lens }) {
  const asked = new Set(lens.asked);
  const own = lens.asked[0];
  const line = h("canvas", { role: "img" });
  const head = h("tr", {}, h("th", {}, "layer"), lens.following.map((token, i) => h("th", { scope: "col", title: `behind ${quoted(visible(lens.read[i]))}` }, visible(token ?? "…"))));
  const rows = lens.layers.map((guesses, layer) =>
    h("tr", {}, h("th", { scope: "row" }, layer), guesses.map((guess, i) => {
      const [token, share] = guess.top[0];
      const title = `layer ${layer}: ${guess.top.map(([t, p]) => `${visible(t)} ${percent(p)}`).join(", ")}; ${quoted(visible(lens.following[i] ?? ""))} is no. ${guess.rank?.toLocaleString("en")}`;
      return h("td", { class: `${guess.rank === 1 ? "right-one" : ""} ${asked.has(i) ? "column" : ""}`, style: { "--p": share }, title }, visible(token));
    })),
  );
  const ranks = lens.layers.map((guesses) => guesses[own].rank);
  const settled = ranks.findIndex((rank, i) => ranks.slice(i).every((later) => later <= Math.max(ranks.at(-1), 1) * 2));
  fill(
    element,
    h("p", { class: "said" }, `In the place of ${quoted(words[word].text)}: no. ${ranks[0].toLocaleString("en")} behind layer 0, no. ${ranks.at(-1).toLocaleString("en")} at the end; near there from layer ${settled} on.`),
    h("figure", {}, h("figcaption", {}, `The rank of ${quoted(words[word].text)} from layer to layer; the top is the likeliest word`), h("div", { class: "scroll" }, line)),
    h("div", { class: "scroll" }, h("table", { class: "lens" }, h("thead", {}, head), h("tbody", {}, rows))),
    note("Each column is a place in the sentence, headed by the word that really stands there; each cell is what that layer would have put there, and the stronger its colour, the surer the layer. Bold and underlined means right. Early layers were not made to be read like this, so take them as a hint."),
  );
  line.setAttribute("aria-label", `Ranks by layer: ${ranks.join(", ")}`);
  paint(line, ranks, element);
}

function paint(canvas, ranks, element) {
  const c = colours(element);
  const [wide, high, left] = [Math.max(280, Math.min(element.clientWidth - 60, 900)), 96, 66];
  const g = sheet(canvas, wide, high + 24);
  const most = Math.max(10, ...ranks);
  const x = (layer) => left + ((wide - left - 12) * layer) / Math.max(1, ranks.length - 1);
  const y = (rank) => 10 + ((high - 14) * Math.log(rank)) / Math.log(most);
  g.font = `11px ${c.sans}`;
  g.textAlign = "right";
  g.textBaseline = "middle";
  for (let rank = 1; rank <= most; rank *= 10) {
    g.fillStyle = c.grey;
    g.fillText(`no. ${rank.toLocaleString("en")}`, left - 8, y(rank));
    g.fillStyle = c.line;
    g.fillRect(left, y(rank), wide - left, 1);
  }
  g.textAlign = "center";
  g.fillStyle = c.grey;
  ranks.forEach((_, layer) => (layer % 5 === 0 || ranks.length < 14) && g.fillText(layer, x(layer), high + 12));
  g.strokeStyle = g.fillStyle = c.ink;
  g.lineWidth = 2;
  g.beginPath();
  ranks.forEach((rank, layer) => g.lineTo(x(layer), y(rank)));
  g.stroke();
  ranks.forEach((rank, layer) => (g.beginPath(), g.arc(x(layer), y(rank), 3, 0, 7), g.fill()));
}
