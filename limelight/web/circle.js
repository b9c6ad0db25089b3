// Words on a circle, in reading order from the top; links are chords. For texts whose words all fit around it.
import { cut } from "./draw.js";

export const FITS = 90; // words, beyond which their names would lie on each other
const ROOM = 120; // pixels around the circle for the words

// Where each word stands: { x, y, turn }, of words around a circle in a square as wide as `size`, `left` from the edge.
export function around(count, size, left) {
  const radius = size / 2 - ROOM;
  return Array.from({ length: count }, (_, i) => {
    const turn = (2 * Math.PI * i) / count - Math.PI / 2;
    return { x: left + size / 2 + radius * Math.cos(turn), y: size / 2 + radius * Math.sin(turn), turn };
  });
}

// The word whose name is under a point; null in the middle, among the chords.
export function pointed(places, size, left, x, y) {
  const [across, down] = [x - left - size / 2, y - size / 2];
  if (!places.length || Math.hypot(across, down) < size / 2 - ROOM - 12) return null;
  const turn = (Math.atan2(down, across) + Math.PI / 2 + 2 * Math.PI) % (2 * Math.PI);
  return Math.round((turn / (2 * Math.PI)) * places.length) % places.length;
}

// g: a cleared sheet. chords: [{ from, to, colour, strength 0..1, dashed }], the weakest first. only: null, or the word
// whose chords alone are drawn strongly. asked: the word in question.
export function drawn(g, { words, places, size, left, chords, only, asked, colours: c, serif }) {
  const middle = { x: left + size / 2, y: size / 2 };
  g.lineCap = "round";
  for (const { from, to, colour, strength, dashed } of chords) {
    const [a, b] = [places[from], places[to]];
    const near = only === null || from === only || to === only;
    g.strokeStyle = colour;
    g.globalAlpha = near ? 0.3 + 0.7 * strength : 0.07;
    g.lineWidth = 1 + 6 * strength;
    g.setLineDash(dashed ? [2, 7] : []);
    g.beginPath();
    g.moveTo(a.x, a.y);
    const pull = 0.55; // towards the middle, so that neighbours' chords leave the rim as well
    g.quadraticCurveTo(
      middle.x + (1 - pull) * ((a.x + b.x) / 2 - middle.x), middle.y + (1 - pull) * ((a.y + b.y) / 2 - middle.y), b.x, b.y,
    );
    g.stroke();
  }
  g.setLineDash([]);
  g.globalAlpha = 1;
  g.textBaseline = "middle";
  const big = words.length <= 40 ? 17 : 12;
  words.forEach((word, i) => {
    const { x, y, turn } = places[i];
    const flipped = Math.cos(turn) < -1e-9; // on the left half, so that no word stands on its head
    g.save();
    g.translate(x, y);
    g.rotate(flipped ? turn + Math.PI : turn);
    g.textAlign = flipped ? "right" : "left";
    g.font = `${i === asked ? "bold " : ""}${big}px ${serif}`;
    g.fillStyle = only === null || i === only || i === asked ? c.ink : c.grey;
    const text = cut(g, word.text, ROOM - 20);
    g.fillText(text, flipped ? -10 : 10, 0);
    if (i === asked) g.fillRect(flipped ? -10 - g.measureText(text).width : 10, big * 0.65, g.measureText(text).width, 2);
    g.restore();
  });
}
