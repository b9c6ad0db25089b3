// All heads as a map, and one head's attention as a grid.
import { colours, cut, sheet } from "./draw.js";
import { fill, h, note, quoted } from "./dom.js";

const LETTERS = { previous: "P", same: "S", induction: "I", punctuation: ",", self: "O", pronoun: "N", subject: "V", first: "–" };

// data: { words, heads [H of each layer], weights [L][H] | null, source, target, layer, head, matrix | null, roles | null }
// act: { head(layer, head), pair(source, target) }
export function heads(element, data, act) {
  const { words } = data;
  const pick = (name, value, label) => {
    const box = h("select", { "aria-label": label, onchange: () => act.pair(...(name === "source" ? [Number(box.value), data.target] : [data.source, Number(box.value)])) });
    words.forEach((word, i) => box.append(h("option", { value: i, selected: i === value }, `${word.text} (${i + 1})`)));
    return box;
  };
  const map = h("canvas", { class: "map", tabindex: 0, role: "img", "aria-label": `Map of heads; layer ${data.layer}, head ${data.head} is chosen; up and down change the layer, brackets the head` });
  const grid = h("canvas", { class: "grid", role: "img", "aria-label": spoken(data) });
  const said = h("p", { class: "said", role: "status" }, spoken(data));
  const over = h("p", { class: "said faint" });
  fill(
    element,
    h("div", { class: "tools" }, h("span", {}, "heads that link"), pick("source", data.source, "the word that looks"), h("span", {}, "to"), pick("target", data.target, "the word looked at")),
    h("div", { class: "two" },
      h("figure", {}, h("figcaption", {}, "Every head: the stronger the violet, the more it links the two"), map, over, legend(data)),
      h("figure", {}, h("figcaption", {}, `Layer ${data.layer}, head ${data.head}: each row is a word that looks`), h("div", { class: "scroll" }, grid), said)),
    note("Layers run down, heads across. Each head looks for something of its own: some always look at the word before, a few from a pronoun to what it stands for. What a row lacks to 1 rests, unused, on a token in front of the text. ↑ ↓ and [ ] walk the map."),
  );
  const cell = paintMap(map, data, element);
  const hit = (event) => {
    const box = map.getBoundingClientRect();
    const layer = Math.floor((event.clientY - box.top - 16) / cell.high);
    const head = Math.floor((event.clientX - box.left - 26) / cell.wide);
    return head >= 0 && layer >= 0 && layer < data.heads.length && head < data.heads[layer] ? [layer, head] : null;
  };
  map.addEventListener("click", (event) => hit(event) && act.head(...hit(event)));
  map.addEventListener("pointermove", (event) => {
    const at = hit(event);
    over.textContent = at && data.weights ? `layer ${at[0]}, head ${at[1]}: ${words[data.source].text} → ${words[data.target].text} ${data.weights[at[0]][at[1]].toFixed(2)}${named(data, at[0], at[1])}` : "";
  });
  if (data.matrix) paintGrid(grid, data, element);
}

// What a head was measured to do, as words.
function named({ roles }, layer, head) {
  const found = roles?.roles?.[layer]?.[head];
  return found?.role ? `; looks at ${roles.meanings[found.role]} (${found.strength.toFixed(2)})` : "";
}

function legend({ roles }) {
  if (roles === false) return null;
  if (!roles) return h("p", { class: "roles" }, "measuring what each head looks for …");
  const present = new Set(roles.roles.flat().map((found) => found.role));
  return h("p", { class: "roles" }, Object.entries(roles.meanings).filter(([role]) => present.has(role)).map(([role, meaning]) => h("span", {}, h("b", {}, LETTERS[role]), meaning)));
}

function spoken(data) {
  const { words, matrix, layer, head, source } = data;
  if (!matrix) return "Reading this layer";
  const n = words.length;
  const best = words.map((word, i) => [word.text, matrix[source * n + i]]).filter((pair) => pair[1] >= 0.01).sort((a, b) => b[1] - a[1]).slice(0, 4);
  const unused = Math.max(0, 1 - matrix.subarray(source * n, (source + 1) * n).reduce((a, b) => a + b, 0));
  const said = [...best.map(([text, weight]) => `${text} ${weight.toFixed(2)}`), ...(unused >= 0.01 ? [`unused ${unused.toFixed(2)}`] : [])];
  return `Head ${head} of layer ${layer}, from ${quoted(words[source].text)}: ${said.join(", ")}${named(data, layer, head)}.`;
}

function paintMap(canvas, data, element) {
  const c = colours(element);
  const most = Math.max(...data.heads, 1);
  const wide = Math.max(12, Math.min(34, Math.floor((Math.min(element.clientWidth, 460) - 30) / most)));
  const high = Math.max(10, Math.min(20, Math.floor(420 / data.heads.length)));
  const g = sheet(canvas, 30 + most * wide, 20 + data.heads.length * high);
  g.font = `11px ${c.sans}`;
  g.textBaseline = "middle";
  g.fillStyle = c.grey;
  g.textAlign = "center";
  for (let head = 0; head < most; head++) if (wide >= 16 || head % 4 === 0) g.fillText(head, 26 + (head + 0.5) * wide, 8);
  g.textAlign = "right";
  data.heads.forEach((count, layer) => {
    const y = 16 + layer * high;
    g.globalAlpha = 1;
    g.fillStyle = c.grey;
    if (high >= 12 || layer % 4 === 0) g.fillText(layer, 20, y + high / 2);
    for (let head = 0; head < count; head++) {
      const x = 26 + head * wide;
      g.globalAlpha = 1;
      g.fillStyle = c.line;
      g.fillRect(x + 1, y + 1, wide - 2, high - 2);
      g.globalAlpha = Math.min(1, data.weights?.[layer]?.[head] ?? 0);
      g.fillStyle = c.looks;
      g.fillRect(x + 1, y + 1, wide - 2, high - 2);
    }
  });
  g.globalAlpha = 1;
  g.textAlign = "center";
  g.font = `600 ${Math.min(12, high - 2)}px ${c.sans}`;
  data.roles?.roles?.forEach((row, layer) =>
    row.forEach(({ role, strength }, head) => {
      if (!role) return;
      g.globalAlpha = role === "first" ? 0.35 : Math.min(1, 0.4 + strength);
      g.fillStyle = (data.weights?.[layer]?.[head] ?? 0) > 0.55 ? c.paper : c.ink;
      g.fillText(LETTERS[role], 26 + (head + 0.5) * wide, 17 + (layer + 0.5) * high);
    }),
  );
  g.globalAlpha = 1;
  g.strokeStyle = c.ink;
  g.lineWidth = 2;
  g.strokeRect(26 + data.head * wide, 16 + data.layer * high, wide, high);
  return { wide, high };
}

function paintGrid(canvas, { words, matrix, source, target, reads }, element) {
  const c = colours(element);
  const n = words.length;
  const named = n <= 48;
  const size = named ? Math.max(14, Math.min(34, Math.floor(380 / n))) : Math.max(1, Math.floor(480 / n));
  const label = named ? 84 : 0;
  const g = sheet(canvas, label + n * size + 4, label + n * size + 4);
  g.font = `12px ${c.sans}`;
  g.textBaseline = "middle";
  words.forEach((word, i) => {
    if (!named) return;
    g.fillStyle = i === source ? c.ink : c.grey;
    g.textAlign = "right";
    g.fillText(cut(g, word.text, label - 10), label - 6, label + (i + 0.5) * size);
    g.save();
    g.translate(label + (i + 0.5) * size, label - 6);
    g.rotate(-Math.PI / 2);
    g.textAlign = "left";
    g.fillStyle = i === target ? c.ink : c.grey;
    g.fillText(cut(g, word.text, label - 10), 0, 0);
    g.restore();
  });
  for (let row = 0; row < n; row++) {
    for (let column = 0; column <= (reads ? n - 1 : row); column++) {
      const x = label + column * size;
      const y = label + row * size;
      const gap = size > 6 ? 1 : 0;
      if (named) {
        g.globalAlpha = 1;
        g.fillStyle = c.line;
        g.fillRect(x, y, size - gap, size - gap);
      }
      const weight = matrix[row * n + column];
      if (weight < 0.004) continue;
      g.globalAlpha = Math.min(1, weight);
      g.fillStyle = c.looks;
      g.fillRect(x, y, size - gap, size - gap);
    }
  }
  g.globalAlpha = 1;
  if (named) {
    g.strokeStyle = c.ink;
    g.strokeRect(label + target * size - 0.5, label + source * size - 0.5, size, size);
  }
}
