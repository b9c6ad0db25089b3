// Inside the network: numbers by layer, and by head or word, as a map.
import { colours, sheet } from "./draw.js";
import { fill, h, note, quoted } from "./dom.js";

const KINDS = {
  adds: { title: "what each part adds", says: "What each head and each feed-forward adds to the answer by itself, straight into the last scores (direct logit attribution). Amber speaks for it, blue for the other; together they make the whole difference." },
  needs: { title: "what it cannot do without", says: "How much the answer loses when one head is silent (ablation). Amber: it is needed; blue: the answer is better without it. A head that adds nothing by itself may be needed by later ones." },
  carries: { title: "where the difference lies", says: "Two texts that differ in a word. At each word and layer what the model has of the first is put into its reading of the second (activation patching): 1 brings all of the answer back, so there lies what tells the two apart." },
  brings: { title: "which heads bring it", says: "The same for each head, everywhere at once: which heads carry the difference to where the answer is read." },
};

export const STEER = "steer"; // is drawn by steer.js

export const kindOf = (state) => (KINDS[state.inside] || state.inside === STEER ? state.inside : "adds");

export function tabs(kind, act) {
  const titles = [...Object.entries(KINDS).map(([name, { title }]) => [name, title]), [STEER, "steer it"]];
  return h("div", { class: "tools", role: "group", "aria-label": "What to look at" }, titles.map(([name, title]) => h("button", { class: "small", "aria-pressed": name === kind ? "true" : "false", onclick: () => act.inside(name) }, title)));
}

const LABEL = 34; // pixels for the numbers of layers
const HIGH = 16; // of a row

// data: { found { columns, values [n][m], strongest, unit, answer, foil, other } | null, kind, layer, head }.
// act: { inside(kind), head(layer, head) }. waiting: shown until it is found.
export function inside(element, data, act, waiting) {
  const { found, kind } = data;
  if (!found) return fill(element, tabs(kind, act), waiting);
  const { columns, values, strongest, unit } = found;
  const most = Math.max(...values.flat().map(Math.abs), 1e-9);
  const number = (value) => `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)}`;
  const told = `${quoted(found.answer)} rather than ${quoted(found.foil)}: ${strongest.map(({ layer, column, value }) => `layer ${layer}, ${column} ${number(value)}`).join("; ")}.`;
  const over = h("p", { class: "said", role: "status" });
  const canvas = h("canvas", { class: "map", role: "img", tabindex: 0, "aria-label": `${KINDS[kind].title}. ${told}` });
  const scroll = h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "the map" }, canvas);
  fill(
    element,
    tabs(kind, act),
    found.other && h("p", { class: "faint" }, "Beside: ", h("i", {}, found.other)),
    h("figure", {}, h("figcaption", {}, `Layers down, ${/^head /.test(columns[0]) ? "heads" : "words"} across; ${unit === "share" ? "how much of the answer comes back" : "natural log-odds"}`), scroll),
    over,
    h("p", { class: "said" }, "Strongest: ", told),
    note(KINDS[kind].says),
  );
  const c = colours(element);
  const top = 12 + Math.max(...columns.map((name) => name.length)) * 6.2;
  const wide = Math.max(14, Math.min(46, (scroll.clientWidth - LABEL) / columns.length));
  const g = sheet(canvas, LABEL + wide * columns.length + 2, top + HIGH * values.length + 2);
  g.font = `11px ${c.sans}`;
  g.textBaseline = "middle";
  columns.forEach((name, i) => {
    g.save();
    g.translate(LABEL + (i + 0.5) * wide, top - 5);
    g.rotate(-Math.PI / 2);
    g.fillStyle = c.grey;
    g.fillText(name, 0, 0);
    g.restore();
  });
  values.forEach((row, layer) => {
    g.globalAlpha = 1;
    g.fillStyle = c.grey;
    g.textAlign = "right";
    g.fillText(String(layer), LABEL - 6, top + (layer + 0.5) * HIGH);
    row.forEach((value, i) => {
      const place = [LABEL + i * wide, top + layer * HIGH, wide - 1, HIGH - 1];
      g.globalAlpha = 0.5;
      g.fillStyle = c.line;
      g.fillRect(...place);
      g.globalAlpha = Math.min(1, Math.abs(value) / most);
      g.fillStyle = value < 0 ? c.lowered : c.raised;
      g.fillRect(...place);
    });
  });
  g.globalAlpha = 1;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const [layer, i] = [Math.floor((event.clientY - box.top - top) / HIGH), Math.floor((event.clientX - box.left - LABEL) / wide)];
    return values[layer]?.[i] === undefined ? null : { layer, i };
  };
  canvas.onpointermove = (event) => {
    const cell = at(event);
    over.textContent = cell ? `layer ${cell.layer}, ${columns[cell.i]}: ${number(values[cell.layer][cell.i])}` : "";
  };
  canvas.onclick = (event) => {
    const cell = at(event);
    if (cell && columns[cell.i].startsWith("head ")) act.head(cell.layer, Number(columns[cell.i].slice(5)));
  };
}
