// Words on a line: above it where one head looks, below it which words mattered. Or the same on a circle.
import * as round from "./circle.js";
import { colours, sheet, strongest } from "./draw.js";
import { fill, h, named, note, quoted } from "./dom.js";
import { sense, strengths } from "./loss.js";

const ABOVE = 190;
const BELOW = 110;
const LINE = 40;
const STUB = 70; // pixels in front of the words for what goes to no word
const HIGH = ABOVE + LINE + BELOW;
const TILE = 800; // pixels of the picture that are drawn at once and kept, so that scrolling draws nothing anew
const KEPT = 6; // tiles, besides those on the screen

// data: { words, word, importance | null, matrix Float32Array [N, N], layer, head }. act: { choose(i) }.
// keep: what the reader chose here, kept by the caller between drawings: { share, unused, only, circle }.
export function arcs(element, data, act, keep) {
  const { words, matrix, layer, head } = data;
  const n = words.length;
  const canvas = h("canvas", { role: "img", tabindex: 0, "aria-label": `Where head ${head} of layer ${layer} looks` });
  const room = h("div", { class: "long" });
  const scroll = h("div", { class: "scroll", tabindex: -1 }, room);
  const said = h("p", { class: "said", role: "status" });
  room.append(canvas);
  let hovered = null;
  let places = [];
  let links = [];
  const c = colours(element); // asking for styles while scrolling would lay the page out anew each time
  const serif = getComputedStyle(document.documentElement).getPropertyValue("--serif");

  const mattered = data.importance ? answers(data.importance, c) : [];
  const circled = () => keep.circle && n <= round.FITS;

  function measure() {
    if (circled()) {
      places = round.around(n, ...extent());
      room.style.setProperty("width", "100%");
      return;
    }
    const context = canvas.getContext("2d");
    const widths = words.map((word, i) => {
      context.font = `${i === data.word ? "bold " : ""}17px ${serif}`;
      return Math.min(160, context.measureText(word.text).width);
    });
    const front = keep.unused ? STUB : 20;
    const free = scroll.clientWidth - widths.reduce((a, b) => a + b, 0) - front - 20;
    const gap = Math.max(14, Math.min(60, free / Math.max(1, n)));
    let at = front;
    places = widths.map((width) => {
      const place = { x: at + width / 2, width };
      at += width + gap;
      return place;
    });
    const total = at - gap + 20;
    const spare = Math.max(0, (scroll.clientWidth - total) / 2);
    places.forEach((place) => (place.x += spare));
    room.style.setProperty("width", `${Math.max(total, scroll.clientWidth)}px`);
  }

  // The circle's width, and how far it is from the left edge.
  function extent() {
    const size = Math.min(scroll.clientWidth, 640);
    return [size, (scroll.clientWidth - size) / 2];
  }

  function choose() {
    links = strongest(matrix, n, keep.share, n > 60 ? 2 : 8, Boolean(data.reads));
    say();
  }

  function say() {
    const mine = links.filter(([source]) => focus() === null || source === focus());
    const few = mine.slice(0, 5).map(([source, target, weight]) => `${named(words[source].text)} → ${named(words[target].text)} ${weight.toFixed(2)}`);
    said.textContent = `Head ${head} of layer ${layer}: ${few.length ? few.join(", ") : "no word but itself"}${mine.length > 5 ? " …" : "."}`;
  }

  const focus = () => hovered ?? (keep.only ? data.word : null);

  const tiles = new Map(); // left edge → canvas, the one drawn longest ago first

  function paint() {
    const width = scroll.clientWidth;
    if (circled()) {
      const [size, left] = extent();
      const looks = links.map(([from, to, strength]) => ({ from, to, strength, colour: c.looks, dashed: false }));
      const chords = [...looks, ...mattered].reverse();
      const g = sheet(canvas, width, size);
      round.drawn(g, { words, places, size, left, chords, only: focus(), asked: data.word, colours: c, serif });
      if (!keep.unused) return;
      g.font = `12px ${c.sans}`;
      g.fillStyle = c.grey;
      g.textAlign = "left";
      g.fillText(`${Math.round(100 * unused())} % unused`, 4, size - 12);
      return;
    }
    const left = Math.round(scroll.scrollLeft);
    const g = sheet(canvas, width, HIGH);
    for (let at = left - (left % TILE); at < left + width; at += TILE) {
      if (!tiles.has(at)) tiles.set(at, tile(at));
      g.drawImage(tiles.get(at), at - left, 0, TILE, HIGH);
    }
    for (const at of [...tiles.keys()].slice(0, Math.max(0, tiles.size - KEPT - Math.ceil(width / TILE)))) tiles.delete(at);
  }

  // The part of the picture from `left` on.
  function tile(left) {
    const only = focus();
    const span = Math.log1p((places.at(-1).x - places[0].x) / 60) || 1;
    const part = document.createElement("canvas");
    const g = sheet(part, TILE, HIGH);
    g.translate(-left, 0);
    g.lineCap = "round";
    const seen = (a, b) => Math.max(a, b) > left - 20 && Math.min(a, b) < left + TILE + 20;
    const arc = (a, b, y, deep, colour, wide, alpha) => {
      const high = ((deep - 12) * Math.log1p(Math.abs(a - b) / 60)) / span; // long arcs differ in height too
      const sign = y > ABOVE ? 1 : -1;
      g.strokeStyle = colour;
      g.globalAlpha = alpha;
      g.lineWidth = wide;
      g.beginPath();
      g.moveTo(a, y);
      g.bezierCurveTo(a, y + (sign * high * 4) / 3, b, y + (sign * high * 4) / 3, b, y);
      g.stroke();
    };
    for (const [source, target, weight] of [...links].reverse()) {
      const a = places[source].x;
      const b = places[target].x;
      if (!seen(a, b)) continue;
      const near = only === null || source === only || target === only;
      arc(a, b, ABOVE, ABOVE, c.looks, 1 + 6 * weight, near ? 0.3 + 0.7 * weight : 0.07);
    }
    for (const { from, to, colour, strength, dashed } of mattered) {
      const [a, b] = [places[from].x, places[to].x];
      if (!seen(a, b)) continue;
      const near = only === null || to === only || from === only;
      g.setLineDash(dashed ? [2, 7] : []);
      arc(a, b, ABOVE + LINE, BELOW, colour, 1 + 6 * strength, near ? 0.3 + 0.7 * strength : 0.07);
    }
    g.setLineDash([]);
    g.globalAlpha = 1;
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.font = `17px ${serif}`;
    words.forEach((word, i) => {
      const { x, width: wide } = places[i];
      if (!seen(x - wide / 2, x + wide / 2)) return;
      if (i === data.word) g.font = `bold 17px ${serif}`;
      g.fillStyle = only === null || i === only || i === data.word ? c.ink : c.grey;
      g.fillText(word.text, x, ABOVE + LINE / 2, 160);
      if (i !== data.word) return;
      g.fillRect(x - wide / 2, ABOVE + LINE - 8, wide, 2);
      g.font = `17px ${serif}`;
    });
    if (keep.unused && left === 0) stub(g);
    return part;
  }

  // The mean share of what goes to no word, but to the token in front of the text.
  function unused() {
    let sum = 0;
    for (let i = 0; i < n * n; i++) sum += matrix[i];
    return Math.max(0, 1 - sum / n);
  }

  // That share as one grey bar in front of the words, where no arc comes.
  function stub(g) {
    const mean = unused();
    const high = 2 + 60 * mean;
    const x = places[0].x - places[0].width / 2 - STUB / 2;
    g.fillStyle = c.grey;
    g.globalAlpha = 0.5;
    g.fillRect(x - 4, ABOVE - high, 8, high);
    g.globalAlpha = 1;
    g.font = `12px ${c.sans}`;
    g.fillText(`${Math.round(100 * mean)} %`, x, ABOVE - high - 10);
    g.fillText("unused", x, ABOVE + LINE / 2);
  }

  const under = (event) => {
    const box = scroll.getBoundingClientRect();
    if (circled()) return round.pointed(places, ...extent(), event.clientX - box.left, event.clientY - box.top);
    const x = event.clientX - box.left + scroll.scrollLeft;
    const i = places.findIndex((place) => Math.abs(place.x - x) < place.width / 2 + 7);
    return i < 0 ? null : i;
  };
  const refresh = () => {
    choose();
    tiles.clear();
    paint();
  };
  let waiting = false;
  const soon = () => {
    if (!waiting) requestAnimationFrame(() => ((waiting = false), paint()));
    waiting = true;
  };
  const again = () => {
    say();
    tiles.clear();
    soon();
  };
  scroll.addEventListener("scroll", soon, { passive: true });
  canvas.addEventListener("pointermove", (event) => {
    const now = under(event);
    if (now !== hovered) {
      hovered = now;
      again();
    }
  });
  canvas.addEventListener("pointerleave", () => {
    hovered = null;
    again();
  });
  canvas.addEventListener("click", (event) => {
    const i = under(event);
    if (i !== null) act.choose(i);
  });

  const share = h("input", {
    type: "range", min: 0.1, max: 1, step: 0.05, value: keep.share, "aria-label": "share of the attention shown",
    oninput: () => {
      keep.share = Number(share.value);
      shown.textContent = `${Math.round(100 * keep.share)} %`;
      refresh();
    },
  });
  const shown = h("output", {}, `${Math.round(100 * keep.share)} %`);
  const tick = (name, label, changed = refresh) => {
    const box = h("input", { type: "checkbox", onchange: () => ((keep[name] = box.checked), changed()) });
    box.checked = keep[name];
    return h("label", { class: "tick" }, box, label);
  };
  const layout = () => {
    measure();
    // what is asked about, and what is before it
    scroll.scrollLeft = circled() ? 0 : places[data.word].x + places[data.word].width / 2 + 20 - scroll.clientWidth;
    refresh();
  };
  fill(
    element,
    h("div", { class: "tools" }, h("label", { class: "slider" }, h("span", {}, "links that carry"), share, shown), tick("unused", "show unused attention", layout), tick("only", "only the word in question"), n <= round.FITS && tick("circle", "on a circle", layout)),
    scroll,
    said,
    note(
      h("span", { class: "looks-text" }, "Violet, above the line: "), "where one head looks, from each word back to earlier ones. ",
      h("span", { class: "raised-text" }, "Amber, below it: "), `which words mattered for ${quoted(words[data.word].text)}. `,
      "These are two different questions: a head can look hard at a word that changes nothing. A head with nothing to look for rests on a token in front of the text: its attention is unused.",
    ),
  );
  layout();
}

// How much each word mattered for the one in question, as links.
function answers(found, c) {
  const colour = (value) => c[{ looked: "looks" }[sense(found, value)] ?? sense(found, value)];
  const links = strengths(found).map((strength, i) => ({ from: found.word, to: i, colour: colour(found.values[i]), strength, dashed: sense(found, found.values[i]) === "lowered" }));
  return links.filter(({ strength }) => strength >= 0.08);
}
