// Pass it on: the sentence, its light and its arcs as one picture, made here and nowhere else.
import { download, fill, h } from "./dom.js";
import { colours } from "./draw.js";
import { svg } from "./line.js";
import { sense, short, strengths } from "./loss.js";

const [WIDE, HIGH, EDGE] = [1200, 630, 64];
const SERIF = "Charter, 'Bitstream Charter', Georgia, 'Liberation Serif', serif";
const SANS = "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif";

// Opens the dialog. data: a view (question.js) with an answer; question: what is asked; link: what shows the same, or null.
export function share(dialog, data, question, link, act) {
  const parts = picture(data, question, colours(dialog));
  const image = drawn(parts);
  const button = (label, does) => h("button", { class: "small", onclick: does }, label);
  const copied = h("span", { class: "faint", role: "status" });
  fill(
    dialog,
    h("h2", {}, "Pass it on"),
    image,
    h("p", { class: "turn-tools" },
      button("picture (PNG)", async () => download(await painted(parts), "limelight.png")),
      button("picture (SVG)", () => download(new Blob([new XMLSerializer().serializeToString(image)], { type: "image/svg+xml" }), "limelight.svg")),
      data.live && !data.reads && button("the page as one file", async () => ((copied.textContent = "making the file …"), await act.save(), (copied.textContent = "saved"))),
      link && button("copy the link", async () => ((await navigator.clipboard?.writeText(link)), (copied.textContent = "copied; it opens on any machine where limelight runs at this address"))),
      copied),
    h("p", { class: "note" }, "The picture is made in this browser. Nothing is sent anywhere."),
    h("form", { method: "dialog" }, h("button", { class: "small" }, "close")),
  );
  if (!dialog.open) dialog.showModal();
}

// What stands on the picture: rectangles, paths and texts, each with its place and colour.
function picture({ words, word, importance, reads }, question, c) {
  const shown = reads ? words : words.slice(0, word + 1);
  const strong = strengths(importance);
  const pen = document.createElement("canvas").getContext("2d");
  const room = WIDE - 2 * EDGE;
  const wideness = (text, size, family) => ((pen.font = `${size}px ${family}`), pen.measureText(text).width);
  const number = (i) => (i !== word && short(importance, importance.values[i])) || "";
  const small = (size) => Math.max(13, size * 0.36); // the numbers under the words
  let [size, rows] = [46, []];
  for (; size > 15; size -= 3) {
    rows = [[]];
    let x = 0;
    shown.forEach((one, i) => {
      const wide = wideness(one.text, size, SERIF);
      const under = Math.max(0, wideness(number(i), small(size), SANS) + 10 - wide) / 2; // by which its number is wider
      const gap = under + (one.gap || i === word ? wideness(" ", size, SERIF) * 1.15 : 0);
      if (x + gap + wide + under > room && rows.at(-1).length) (rows.push([]), (x = under));
      else x += rows.at(-1).length ? gap : under;
      rows.at(-1).push({ i, x: EDGE + x, wide, text: one.text });
      x += wide + under;
    });
    if (rows.length * size * 2 < 280) break;
  }
  const parts = [{ kind: "rect", x: 0, y: 0, w: WIDE, h: HIGH, fill: c.paper, round: 0 }];
  const first = 110 + Math.max(40, (HIGH - 280 - rows.length * size * 1.95) / 2) + size;
  const places = new Map();
  rows.forEach((row, line) => row.forEach((one) => places.set(one.i, { ...one, y: first + line * size * 1.95 })));
  const top = ({ x, wide, y }) => [x + wide / 2, y - size * 0.95];
  const lit = shown.map((_, i) => i).filter((i) => i !== word && (strong[i] > 0.05 || importance.named.includes(i)));
  for (const i of lit) {
    const at = places.get(i);
    parts.push({ kind: "rect", x: at.x - 4, y: at.y - size * 0.92, w: at.wide + 8, h: size * 1.22, fill: c[sense(importance, importance.values[i])], alpha: 0.75 * strong[i], round: 7 });
    if (importance.named.includes(i)) parts.push({ kind: "rect", x: at.x - 4, y: at.y - size * 0.92, w: at.wide + 8, h: size * 1.22, stroke: c.raised, round: 7 });
  }
  const asked = places.get(word);
  for (const i of lit.filter((i) => importance.values[i] > 0 && (i !== importance.asks || importance.named.includes(i)))) {
    const [[ax, ay], [bx, by]] = [top(asked), top(places.get(i))];
    const high = Math.min(Math.min(ay, by) - 84, 26 + Math.abs(ax - bx) * 0.14) * 1.33;
    parts.push({ kind: "path", d: `M${ax.toFixed(1)} ${ay.toFixed(1)}C${ax.toFixed(1)} ${(ay - high).toFixed(1)} ${bx.toFixed(1)} ${(by - high).toFixed(1)} ${bx.toFixed(1)} ${by.toFixed(1)}`, stroke: c.raised, width: 1.5 + 6 * strong[i], alpha: 0.3 + 0.6 * strong[i] });
  }
  parts.push({ kind: "rect", x: asked.x - 6, y: asked.y - size * 0.92, w: asked.wide + 12, h: size * 1.22, stroke: c.ink, round: 7 });
  for (const { i, x, y, wide, text } of places.values()) {
    parts.push({ kind: "text", x, y, size, text, fill: c.ink, italic: !shown[i].given });
    if (number(i)) parts.push({ kind: "text", x: x + wide / 2, y: y + size * 0.62, size: small(size), text: number(i), fill: c.grey, sans: true, middle: true });
  }
  const sentences = (importance.told ?? []).map((sentence) => sentence.map((part) => part.text ?? part).join(""));
  let y = HIGH - 150;
  for (const [text, each, fill] of [[sentences.slice(0, 2).join(" "), 24, c.ink], [sentences.slice(2).join(" "), 18, c.grey]]) {
    pen.font = `${each}px ${SANS}`;
    let line = "";
    for (const piece of [...text.split(" "), null]) {
      if (piece !== null && pen.measureText(`${line} ${piece}`).width <= room) line = line ? `${line} ${piece}` : piece;
      else {
        parts.push({ kind: "text", x: EDGE, y, size: each, text: line, fill, sans: true });
        y += each * 1.45;
        line = piece ?? "";
      }
    }
  }
  parts.push({ kind: "rect", x: EDGE, y: 40, w: 18, h: 18, fill: c.raised, round: 9 });
  parts.push({ kind: "text", x: EDGE + 30, y: 58, size: 26, text: "limelight", fill: c.ink, italic: true });
  let heading = question;
  while (wideness(heading, 20, SANS) > room - 160) heading = `${heading.slice(0, -2).trimEnd()}…`;
  parts.push({ kind: "text", x: EDGE + 160, y: 58, size: 20, text: heading, fill: c.grey, sans: true });
  return parts;
}

function drawn(parts) {
  return svg("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${WIDE} ${HIGH}`, class: "share-picture", role: "img", "aria-label": "The sentence with the words that the answer came from" },
    ...parts.map((part) => {
      const look = { fill: part.fill ?? "none", stroke: part.stroke ?? "none", opacity: part.alpha ?? 1 };
      if (part.kind === "rect") return svg("rect", { x: part.x, y: part.y, width: part.w, height: part.h, rx: part.round, "stroke-width": 2.5, ...look });
      if (part.kind === "path") return svg("path", { d: part.d, "stroke-width": part.width, "stroke-linecap": "round", ...look });
      return svg("text", { x: part.x, y: part.y, "font-size": part.size, "font-family": part.sans ? SANS : SERIF, "font-style": part.italic ? "italic" : "normal", "text-anchor": part.middle ? "middle" : "start", ...look }, part.text);
    }));
}

// The same as a PNG, twice as sharp.
function painted(parts) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * WIDE, 2 * HIGH];
  const g = canvas.getContext("2d");
  g.scale(2, 2);
  g.lineCap = "round";
  for (const part of parts) {
    g.globalAlpha = part.alpha ?? 1;
    g.fillStyle = part.fill ?? "transparent";
    g.strokeStyle = part.stroke ?? "transparent";
    g.lineWidth = part.width ?? 2.5;
    if (part.kind === "text") {
      g.font = `${part.italic ? "italic " : ""}${part.size}px ${part.sans ? SANS : SERIF}`;
      g.textAlign = part.middle ? "center" : "left";
      g.fillText(part.text, part.x, part.y);
      continue;
    }
    const path = part.kind === "path" ? new Path2D(part.d) : new Path2D();
    if (part.kind === "rect") path.roundRect(part.x, part.y, part.w, part.h, part.round);
    if (part.fill) g.fill(path);
    if (part.stroke) g.stroke(path);
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
