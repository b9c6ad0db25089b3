// The arcs on the sentence: from the word in question to the words it came from. They swing when another word is asked.
import { strengths, sense } from "./loss.js";

const MOST = 12; // arcs at once
const LEAST = 0.2; // of a word that is named: together with others it does more than alone
const AGAINST = 0.35; // from which strength on a word has an arc without which the answer would be likelier
const TIME = 180; // milliseconds that a swing takes
const NS = "http://www.w3.org/2000/svg";

// Where arcs are drawn: an empty drawing that fills `paper`, behind the box with the words. spot(place): a word's element.
export function beams(paper, sentence, spot) {
  const frame = paper.insertBefore(document.createElementNS(NS, "svg"), sentence);
  const svg = frame.appendChild(document.createElementNS(NS, "g"));
  frame.setAttribute("class", "beams");
  frame.setAttribute("aria-hidden", "true");
  let now = [];
  let next = 0;
  sentence.addEventListener("scroll", () => svg.setAttribute("transform", `translate(0 ${-sentence.scrollTop})`), { passive: true });

  // found: an importance whose arcs are drawn, or null for none. swing: whether they move there.
  function show(found, swing = true) {
    const wanted = found ? arcs(frame.getBoundingClientRect(), sentence.scrollTop, spot, found) : [];
    cancelAnimationFrame(next);
    const from = wanted.map((arc, i) => now[i] ?? { ...arc, strength: 0 });
    if (!swing || !now.length || matchMedia("(prefers-reduced-motion: reduce)").matches) return paint(wanted);
    const begun = performance.now();
    const move = (time) => {
      const done = Math.min(1, Math.max(0, (time - begun) / TIME));
      const eased = 1 - (1 - done) ** 3;
      paint(wanted.map((arc, i) => mixed(from[i], arc, eased)));
      if (done < 1) next = requestAnimationFrame(move);
    };
    next = requestAnimationFrame(move);
  }

  function paint(arcs) {
    now = arcs;
    while (svg.childElementCount > arcs.length) svg.lastChild.remove();
    while (svg.childElementCount < arcs.length) svg.append(document.createElementNS(NS, "path"));
    arcs.forEach((arc, i) => {
      const path = svg.children[i];
      path.setAttribute("class", arc.sense);
      path.setAttribute("d", drawn(arc));
      path.setAttribute("stroke-width", (1 + 4.5 * arc.strength).toFixed(2));
      path.setAttribute("opacity", (0.25 + 0.65 * arc.strength).toFixed(3));
    });
  }

  return { show };
}

// found: { word, values, … }. The strongest arcs, each { ax, ay, bx, by, high, strength, sense }, in pixels of the drawing,
// whose place is `home`.
function arcs(home, scrolled, spot, found) {
  const strong = strengths(found);
  const named = (i) => found.named.includes(i);
  const places = strong
    .map((strength, i) => ({ strength: named(i) ? Math.max(strength, LEAST) : strength, i }))
    .filter(({ strength, i }) => strength > (found.values[i] < 0 ? AGAINST : 0.05) && (i !== found.asks || named(i)));
  places.sort((a, b) => b.strength - a.strength);
  const top = (place) => {
    const box = spot(place)?.getClientRects()[0];
    return box && { x: (box.left + box.right) / 2 - home.left, y: box.top - home.top + scrolled + 2 };
  };
  const to = top(found.word);
  if (!to) return [];
  return places.slice(0, MOST).flatMap(({ strength, i }) => {
    const from = top(i);
    if (!from) return [];
    const across = Math.abs(to.x - from.x);
    const room = Math.min(from.y, to.y) - 3;
    const high = Math.min(room, Math.abs(to.y - from.y) < 8 ? 16 + across * 0.14 : 26);
    return [{ ax: to.x, ay: to.y, bx: from.x, by: from.y, high, strength, sense: sense(found, found.values[i]) }];
  });
}

const drawn = ({ ax, ay, bx, by, high }) => `M${ax.toFixed(1)} ${ay.toFixed(1)}C${ax.toFixed(1)} ${(ay - high * 1.33).toFixed(1)} ${bx.toFixed(1)} ${(by - high * 1.33).toFixed(1)} ${bx.toFixed(1)} ${by.toFixed(1)}`;

function mixed(a, b, share) {
  const between = (name) => a[name] + (b[name] - a[name]) * share;
  return { ax: between("ax"), ay: between("ay"), bx: between("bx"), by: between("by"), high: between("high"), strength: between("strength"), sense: b.sense };
}
