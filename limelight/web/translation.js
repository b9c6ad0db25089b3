// A translation: which source word each word listens to, and beside it which words made the model say it.
import { colours, cut, sheet } from "./draw.js";
import { fill, h, named, note, quoted } from "./dom.js";
import { short, strengths } from "./loss.js";

const ROW = 26; // pixels of a line of words
const BETWEEN = 108; // from the source's line to the translation's
const BELOW = 64; // room for arcs below the translation
const NAMED = 40; // words a side, up to which a grid carries their names

// data: { words, given, word, layer, chosen, step, alignment [L][M][N] (L may be 0), grid [M][N + words before] }. given:
// how many words are the source's. chosen: the layer if somebody chose it, or null. act: { choose(i), head(layer, 0) }.
export function translation(element, data, act) {
  const { words, given, word, alignment, grid } = data;
  const when = data.step === "input" ? "just after it is written" : "just before it is written";
  const layer = Math.min(data.layer, alignment.length - 1);
  const c = colours(element);
  const serif = getComputedStyle(document.documentElement).getPropertyValue("--serif");
  const count = words.length - given;
  const losses = { unit: "log-probability", values: grid.flat(), named: [] };
  const flat = strengths(losses);
  let before = 0;
  const strong = grid.map((row) => flat.slice(before, (before += row.length)).map((strength, i) => Math.sign(row[i]) * strength));
  const listens = (row, column) => alignment[layer]?.[row]?.[column] ?? 0;
  const matters = (row, column) => strong[row]?.[column] ?? 0;
  const violet = () => c.looks;
  const amber = (value) => (value < 0 ? c.lowered : c.raised);
  const pictures = [
    alignment.length && panel("Alignment", "looks-text", `where each word of the translation looks, ${when}, layer ${layer}${alignment.length > 1 && data.chosen == null ? ", which looks most at the words that mattered" : ""}, the mean of its heads`, listens, violet, given, heard(listens, (value) => value.toFixed(2), "listens most to", "is listened to most by")),
    panel("Importance", "raised-text", "which words, of the source and of the translation so far, made the model say each", matters, amber, words.length, heard((row, column) => grid[row]?.[column] ?? 0, (value) => short(losses, value), "owes most to", "mattered most for")),
  ].filter(Boolean);
  fill(
    element,
    alignment.length > 1 &&
      h("div", { class: "tools" },
        h("label", {}, "alignment of layer ",
          h("select", { onchange: (event) => act.head(Number(event.target.value), 0) }, alignment.map((_, i) => h("option", { value: i, selected: i === layer }, i))))),
    h("div", { class: "two even" }, pictures.map((picture) => picture.figure)),
    note("Choose a word on either side to see its links alone. The two ask different questions: a word can be listened to and change nothing. Dotted blue: without the word, what was said would be likelier."),
    alignment.length ? null : note("This model reads the source into one vector and cannot listen to a single word, so it has no alignment."),
  );
  pictures.forEach((picture) => picture.paint());

  // What one side of the chosen word has to do with the other, in words.
  function heard(value, written, forth, back) {
    const from = word >= given;
    const others = from ? words.map((_, i) => i).filter((i) => i < word) : words.map((_, i) => i).filter((i) => i >= given);
    const found = others
      .map((i) => [i, from ? value(word - given, i) : value(i - given, word)])
      .filter((pair) => pair[1] > 0.005 && written(pair[1]))
      .sort((a, b) => b[1] - a[1])
      .slice(0, 3);
    const list = found.map(([i, share]) => `${named(words[i].text)} ${written(share)}`).join(", ");
    return `${quoted(words[word].text)} ${from ? forth : back} ${list || "nothing"}.`;
  }

  function panel(title, colour, says, value, ink, columns, told) {
    const lines = h("canvas", { role: "img", tabindex: 0, "aria-label": `${title} as links. ${told}` });
    const cells = h("canvas", { role: "img", "aria-label": `${title} as a grid. ${told}` });
    const scroll = h("div", { class: "scroll" }, lines);
    const figure = h("figure", {}, h("figcaption", {}, h("span", { class: colour }, title), `: ${says}`), scroll, h("p", { class: "said", role: "status" }, told), h("div", { class: "scroll" }, cells));
    let places = [];
    lines.addEventListener("click", (event) => {
      const box = lines.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      const i = places.findIndex((place, at) => Math.abs(place.x - x) < place.width / 2 + 6 && (at < given ? y < ROW + 10 : y > BETWEEN - 10));
      if (i >= 0) act.choose(i);
    });

    function measure() {
      const context = lines.getContext("2d");
      context.font = `17px ${serif}`;
      const widths = words.map((one) => Math.min(150, context.measureText(one.text).width));
      const side = (from, to, gap) => {
        let x = 8;
        return widths.slice(from, to).map((width) => {
          const place = { x: x + width / 2, width };
          x += width + gap;
          return place;
        });
      };
      const wide = (part) => (part.length ? part.at(-1).x + part.at(-1).width / 2 + 8 : 0);
      const room = scroll.clientWidth;
      const spread = (from, to) => {
        const tight = side(from, to, 14);
        const free = (room - wide(tight)) / Math.max(1, to - from - 1);
        const part = side(from, to, 14 + Math.max(0, Math.min(44, free)));
        const shift = Math.max(0, (room - wide(part)) / 2);
        return part.map((place) => ({ ...place, x: place.x + shift }));
      };
      places = [...spread(0, given), ...spread(given, words.length)];
      return Math.max(room, ...places.map((place) => place.x + place.width / 2 + 8));
    }

    function paint() {
      const wide = measure();
      const g = sheet(lines, wide, BETWEEN + ROW + (columns > given ? BELOW : 0));
      g.lineCap = "round";
      for (let row = 0; row < count; row++) {
        for (let column = 0; column < Math.min(columns, given + row); column++) {
          const strength = Math.abs(value(row, column));
          const own = word === given + row || word === column;
          if (strength < (own ? 0.04 : 0.15)) continue;
          const [a, b] = [places[column], places[given + row]];
          g.strokeStyle = ink(value(row, column));
          g.globalAlpha = own ? 0.35 + 0.65 * strength : 0.16;
          g.lineWidth = 1 + 5 * strength;
          g.setLineDash(value(row, column) < 0 ? [2, 7] : []);
          g.beginPath();
          if (column < given) {
            const middle = (ROW + BETWEEN) / 2;
            g.moveTo(a.x, ROW);
            g.bezierCurveTo(a.x, middle, b.x, middle, b.x, BETWEEN);
          } else {
            if (!own) continue;
            const deep = BETWEEN + ROW + Math.min(BELOW - 6, 14 + Math.abs(a.x - b.x) / 4);
            g.moveTo(a.x, BETWEEN + ROW);
            g.bezierCurveTo(a.x, deep, b.x, deep, b.x, BETWEEN + ROW);
          }
          g.stroke();
        }
      }
      g.setLineDash([]);
      g.globalAlpha = 1;
      g.textAlign = "center";
      g.textBaseline = "middle";
      words.forEach((one, i) => {
        const y = i < given ? ROW / 2 : BETWEEN + ROW / 2;
        g.font = `${i === word ? "bold " : ""}17px ${serif}`;
        g.fillStyle = c.ink;
        g.fillText(one.text, places[i].x, y, 150);
        if (i === word) g.fillRect(places[i].x - places[i].width / 2, y + 10, places[i].width, 2);
      });
      square();
    }

    // Rows are words of the translation, columns what they can depend on; the translation's own stand apart.
    function square() {
      const wide = Math.max(120, Math.min(element.clientWidth, 520) - 20);
      const last = Math.min(columns, words.length - 1); // nothing depends on the last word
      const shown = Math.max(count, last) <= NAMED;
      const label = shown ? 78 : 0;
      const size = Math.max(2, Math.min(26, Math.floor((wide - label - 12) / last)));
      const x = (column) => label + column * size + (column >= given ? 8 : 0);
      const g = sheet(cells, x(last - 1) + size + 4, label + count * size + 4);
      g.font = `12px ${c.sans}`;
      g.textBaseline = "middle";
      const written = (text, at) => {
        g.globalAlpha = 1;
        g.fillStyle = at === word ? c.ink : c.grey;
        g.fillText(cut(g, text, label - 10), 0, 0);
      };
      for (let column = 0; shown && column < last; column++) {
        g.save();
        g.translate(x(column) + size / 2, label - 6);
        g.rotate(-Math.PI / 2);
        g.textAlign = "left";
        written(words[column].text, column);
        g.restore();
      }
      for (let row = 0; row < count; row++) {
        const y = label + row * size;
        if (shown) {
          g.save();
          g.translate(label - 6, y + size / 2);
          g.textAlign = "right";
          written(words[given + row].text, given + row);
          g.restore();
        }
        for (let column = 0; column < Math.min(columns, given + row); column++) {
          const strength = value(row, column);
          const gap = size > 6 ? 1 : 0;
          g.globalAlpha = 1;
          g.fillStyle = c.line;
          if (gap) g.fillRect(x(column), y, size - gap, size - gap);
          g.globalAlpha = Math.min(1, Math.abs(strength));
          g.fillStyle = ink(strength);
          const inner = strength < 0 && size > 8 ? 4 : 0; // smaller, for those who cannot tell the two colours apart
          g.fillRect(x(column) + inner, y + inner, size - gap - 2 * inner, size - gap - 2 * inner);
        }
      }
      g.globalAlpha = 1;
      g.strokeStyle = c.ink;
      if (word >= given) g.strokeRect(label - 0.5, label + (word - given) * size - 0.5, x(last - 1) + size - label, size);
      else g.strokeRect(x(word) - 0.5, label - 0.5, size, count * size);
    }

    return { figure, paint };
  }
}
