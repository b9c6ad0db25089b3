// Making elements, and the ways in which numbers and words are written. Text is only ever set as text.

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, part] of Object.entries(value)) element.style.setProperty(name, part);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child != null && child !== false));
}

export const note = (...text) => h("p", { class: "note" }, ...text);

// 0.4 %, 12 %, <0.01 %
export function percent(share) {
  const value = 100 * share;
  if (value === 0) return "0\u00a0%";
  if (value < 0.01) return "<0.01\u00a0%";
  return `${value >= 10 ? Math.round(value) : Number(value.toPrecision(value < 1 ? 1 : 2))}\u00a0%`;
}

export function listed(parts, last = "and") {
  return parts.flatMap((part, i) => (i === 0 ? [part] : [i === parts.length - 1 ? ` ${last} ` : ", ", part]));
}

// Words of scripts that run from right to left are kept from turning the numbers beside them around.
export const isolated = (word) => (/[\u0590-\u08ff\ufb1d-\ufefc]/.test(word) ? `\u2068${word}\u2069` : word);

export const quoted = (word) => `“${isolated(word)}”`;

// What the model said: a word, or what it calls one; a word without a label has null for it.
export const said = ({ text, tag }) => (tag === undefined ? quoted(text) : quoted(tag ?? "O"));

// A sentence from Python, whose quoted words are kept so, too.
export const set = (sentence) => sentence.replace(/“([^”]*)”/g, (_, word) => quoted(word));

// Punctuation stands in quotes where words are listed.
export const named = (word) => (/[\p{L}\p{N}]/u.test(word) ? isolated(word) : quoted(word));

// A token with its white space made visible.
export function visible(token) {
  if (token.includes("\ufffd")) return "part of a sign"; // as of an emoji, or of a letter of many scripts
  return token.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ /, "").replace(/^$/, "␣");
}

// What stands for the token by which a text ends; it cannot be said.
export const END = "(the end)";

// Hands a file to the visitor.
export function download(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
