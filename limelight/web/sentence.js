// The sentence: running text whose words can be chosen, each on a ground as strong as it mattered.
import { fill, h, quoted, signed } from "./dom.js";

const GAP = 5; // pixels between the numbers of two words
const MANY = 40; // words, from which on the weakest go without a number

// data: { words, tail, word, importance | null, editable }. act: { choose(i), hover(i | null), edit() }.
export function sentence(element, data, act) {
  const { words, tail, word, importance } = data;
  const values = importance && importance.word === word ? importance.values : [];
  const most = Math.max(...values.map((value) => Math.abs(value ?? 0)), 1e-9);
  const share = importance?.kind === "attention";
  const spans = words.flatMap((one, i) => {
    const value = values[i];
    const strength = value === undefined ? 0 : Math.abs(value) / most;
    const heard = strength >= 0.05 ? (share ? "looked" : value > 0 ? "raised" : "lowered") : "";
    const number = value === undefined || (words.length > MANY && strength < 0.05) ? null : share ? value.toFixed(2).replace(/^0/, "") : signed(value);
    const span = h(
      "span",
      {
        id: `word-${i}`,
        role: "option",
        "aria-selected": i === word ? "true" : "false",
        "aria-label": number ? `${one.text}, ${number}` : one.text,
        class: `word ${heard} ${one.given ? "given" : "added"} ${i === word ? "asked" : ""} ${i === importance?.asks && values.length ? "asks" : ""} ${data.tokens && i > 0 && !one.gap ? "joined" : ""}`,
        style: heard ? { "--s": strength.toFixed(3) } : {},
        "data-place": i,
      },
      one.text,
      number && h("i", { class: "value", "aria-hidden": "true" }, number),
    );
    return one.gap ? [h("span", { class: one.given ? "given" : "added" }, one.gap), span] : [span];
  });
  fill(element, spans, tail && h("span", { class: "added tail" }, tail));
  widen(element);
  const place = (event) => event.target.closest?.(".word")?.dataset.place;
  element.onclick = (event) => place(event) && act.choose(Number(place(event)));
  element.onpointerover = (event) => place(event) && act.hover(Number(place(event)));
  element.onpointerout = (event) => place(event) && act.hover(null);
  element.setAttribute("aria-activedescendant", `word-${word}`);
  element.dataset.size = words.length > 200 ? "small" : words.length > MANY ? "middle" : "large";
}

// Makes room for numbers that are wider than their words. All are measured before any is changed.
function widen(element) {
  const lacks = [...element.querySelectorAll(".value")].map((value) => [value.parentElement, value.offsetWidth + GAP - value.parentElement.offsetWidth]);
  for (const [word, lack] of lacks) if (lack > 0) word.style.setProperty("padding-inline", `${lack / 2}px`);
}

// What is being written behind the words; they stay as they are.
export function extend(element, tail) {
  const last = element.querySelector(":scope > .tail") ?? element.appendChild(h("span", { class: "added tail" }));
  last.textContent = tail;
}

// The word that a token is part of: letters and digits with nothing between them.
function around(words, i) {
  const joins = (a, b) => words[b]?.gap === "" && /[\p{L}\p{N}\p{M}]$/u.test(words[a].text) && /^[\p{L}\p{N}\p{M}]/u.test(words[b].text);
  let [from, to] = [i, i];
  while (from > 0 && joins(from - 1, from)) from--;
  while (joins(to, to + 1)) to++;
  return words.slice(from, to + 1).map((one) => one.text).join("");
}

// One line about one word: its number, its tokens, its share.
export function about(data, i) {
  const { words, word, importance } = data;
  const one = words[i];
  if (!one) return "";
  const parts = [`${quoted(one.text)}, ${data.tokens ? "token" : "word"} ${i + 1}`];
  const tokens = one.tokens.map((token) => `[${token.replace(/ /g, "·").replace(/\n/g, "↵")}]`).join(" ");
  if (data.tokens) parts.push(`${tokens} of the word ${quoted(around(words, i))}`);
  else parts.push(one.tokens.length === 1 ? `one token ${tokens}` : `${one.tokens.length} tokens ${tokens}`);
  const value = importance?.word === word ? importance.values[i] : undefined; // none for a word behind it
  if (value !== undefined && importance.kind === "attention") parts.push(`gets ${value.toFixed(2)} of the attention`);
  else if (value !== undefined && importance.onwards) parts.push(`${signed(value)}: what it owes to ${quoted(words[word].text)}`);
  else if (value !== undefined) {
    const raised = importance.values.filter((v) => v > 0).reduce((a, b) => a + b, 0);
    parts.push(
      value > 0
        ? `${signed(value)}: ${Math.round((100 * value) / raised)} % of all that speaks for ${quoted(words[word].text)}`
        : `${signed(value)}: speaks against ${quoted(words[word].text)}`,
    );
    if (i === importance.asks && importance.method === "blocking") parts.push("the model asks from here, so it was left out instead of blocked");
  }
  if (i === word) parts.push("the word in question");
  return parts.join(" · ");
}
