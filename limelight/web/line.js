// Words in running text with arcs above them, as cards draw them: in violet where a head looks.
import { fill, h, isolated } from "./dom.js";

const NS = "http://www.w3.org/2000/svg";

export const svg = (name, attributes = {}, ...children) => {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

// words: texts. links: [{ from, to, weight, kind }], kind "looks" (violet) or "raised" (amber). at: the word that looks.
// pick(i): called for a word that is clicked or pointed at.
export function line(element, words, links, at, pick = null) {
  const strong = new Map(links.filter(({ from }) => at === null || from === at).map(({ to, weight }) => [to, weight]));
  const spans = words.map((text, i) =>
    h(pick ? "button" : "span", { class: `beam-word ${i === at ? "at" : ""}`, style: { "--s": (at !== null && strong.get(i)) || 0 }, onclick: () => pick?.(i), onpointerenter: (event) => event.pointerType === "mouse" && pick?.(i) }, isolated(text)));
  const drawing = svg("svg", { class: "line-arcs", "aria-hidden": "true" });
  const box = h("div", { class: "line", dir: "auto" }, drawing, spans.flatMap((span) => [span, " "]));
  fill(element, box);
  const home = box.getBoundingClientRect();
  const top = spans.map((span) => {
    const { left, right, top } = span.getBoundingClientRect();
    return { x: (left + right) / 2 - home.left, y: top - home.top + 3 };
  });
  for (const { from, to, weight, kind } of links) {
    const [a, b] = [top[from], top[to]];
    const high = Math.min(Math.min(a.y, b.y) - 2, 14 + Math.abs(a.x - b.x) * 0.2);
    drawing.append(svg("path", { class: kind ?? "looks", d: `M${a.x} ${a.y}C${a.x} ${a.y - high * 1.33} ${b.x} ${b.y - high * 1.33} ${b.x} ${b.y}`, "stroke-width": 1 + 5 * weight, opacity: 0.2 + 0.75 * weight }));
  }
}
