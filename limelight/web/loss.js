// What an answer loses without a word: as a number that people read, and as how strongly the word is marked.

const LEAST = 0.14; // a smaller loss is none: the answer stays within a seventh of as likely
const STRONG = Math.log(10); // a loss by which a word is marked with full strength, if no other does more

// What falls where an answer is a number and no choice, by its unit.
export const FALLS = { cosine: "likeness", score: "score" };

const SMALL = 0.01; // what it falls by at least where a word did something

// Whether values are losses that say how many times less likely the answer is.
export const folds = (importance) => importance.unit?.startsWith("log-");

// 3.5, 30, 1,200: how many times less likely, or more where the loss is below zero; as limelight.look.told writes it
export function times(loss) {
  const fold = Math.exp(Math.abs(loss));
  return fold > 1e6 ? ">1M" : fold < 9.95 ? fold.toFixed(1) : Number(fold.toPrecision(2)).toLocaleString("en");
}

// The number under a word; "" where nothing was measured, or nothing happened.
export function short(importance, value) {
  if (value == null || importance.estimate) return "";
  if (importance.kind === "attention") return value.toFixed(2).replace(/^0/, "");
  if (FALLS[importance.unit]) return Math.abs(value) < SMALL ? "" : `${size(value)}${value < 0 ? " more" : ""}`;
  if (!folds(importance)) return plain(value);
  return Math.abs(value) < LEAST ? "" : `${times(value)}×${value < 0 ? " more" : ""}`;
}

// The same as a clause about the word in question, `asked`.
export function long(importance, value, asked) {
  if (importance.estimate) return "not measured yet";
  if (value == null) return "not measured";
  if (importance.kind === "attention") return `gets ${value.toFixed(2)} of the attention`;
  if (FALLS[importance.unit]) return `without it the ${FALLS[importance.unit]} ${value < 0 ? "rises" : "falls"} by ${size(value)}`;
  if (!folds(importance)) return `${plain(value)} (${importance.unit})`;
  const beside = importance.foil ? ` beside “${importance.foil}”` : "";
  if (Math.abs(value) < LEAST) return `without it ${asked} stays about as likely${beside}`;
  return `without it ${asked} is ${times(value)} times ${value > 0 ? "less" : "more"} likely${beside}`;
}

// What a value says of its word: that the model looked there, or that the word raised or lowered the answer.
export const sense = (importance, value) => (importance.kind === "attention" ? "looked" : value < 0 && !importance.estimate ? "lowered" : "raised");

// How strongly each word is marked, from 0 to 1.
export function strengths(importance) {
  if (importance.estimate) return estimated(importance.values);
  const sizes = importance.values.map((value) => Math.abs(value ?? 0));
  const counts = (i) => i !== importance.asks || importance.named.includes(i); // whatever stands where is asked does much
  const most = Math.max(...sizes.filter((_, i) => counts(i)), 1e-9);
  if (!folds(importance)) return sizes.map((size) => (size / most < 0.05 || (FALLS[importance.unit] && size < SMALL) ? 0 : Math.min(1, size / most)));
  return sizes.map((size) => (size < LEAST ? 0 : Math.min(1, 0.1 + (0.9 * size) / Math.max(most, STRONG))));
}

// An estimate tells an order and no more.
function estimated(values) {
  const order = values.map((_, i) => i).filter((i) => values[i] != null).sort((a, b) => values[b] - values[a]);
  const found = values.map(() => 0);
  order.forEach((i, rank) => (found[i] = 0.7 - (0.5 * rank) / order.length));
  return found;
}

const size = (value) => (Math.abs(value) < 0.005 ? "0" : Number(Math.abs(value).toPrecision(2)).toString());

function plain(value) {
  const text = size(value);
  return text === "0" ? text : (value < 0 ? "−" : "+") + text;
}
