// What is on the screen, kept behind the # of the address: it never leaves the browser, and a link reproduces the view.

export const FIRST = {
  mode: null, // "ask": a conversation with the model, instead of a text that it continues
  talk: null, // the turns of that conversation, as JSON: ["u", what was said], ["a", the answer], …
  text: "The Eiffel Tower is in Paris, and the Colosseum is in",
  other: null, // what an encoder reads besides: a question, or a text to hold this one against
  word: null, // number from 0; null: the one that the model says next, or the last of a translation
  foil: null, // “why not this one?”
  method: null,
  tokens: null, // 1: cut into tokens instead of words
  door: null,
  beside: null, // a second door, open beside the first
  instead: null, // what is compared: another text, another model, and heads, layers or positions that are off
  than: null,
  off: null,
  lesson: null, // the cards of a lesson in their order, as slides
  inside: null, // what is looked at inside, see inside.js
  vector: null, // by which the model is steered, and how many times it is added
  strength: 1,
  layer: null,
  head: null,
  temperature: 0.8,
  k: 8,
  p: 0.9,
  seed: 0,
  model: null,
};

const NUMBERS = new Set(["word", "tokens", "layer", "head", "temperature", "k", "p", "seed", "strength"]);

export function read(hash) {
  const state = { ...FIRST };
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (!(name in FIRST)) continue;
    if (!NUMBERS.has(name)) state[name] = value;
    else if (value !== "" && Number.isFinite(Number(value)) && (Number(value) >= 0 || name === "strength")) state[name] = Number(value);
  }
  return state;
}

export function write(state) {
  const named = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value !== null && value !== FIRST[name]) named.set(name, value);
  }
  return `#${named}`;
}
