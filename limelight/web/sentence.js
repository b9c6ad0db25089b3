// The sentence: running text whose words can be chosen, each on a ground as strong as it mattered.
import { fill, h, quoted, said } from "./dom.js";
import { long, sense, short, strengths } from "./loss.js";

const GAP = 5; // pixels between the numbers of two words
const MANY = 40; // words, from which on they are set smaller

// data: { words, tail, word, importance | null }. act: { choose(i), hover(i | null) }.
export function sentence(element, data, act) {
  const { words, tail, word, importance } = data;
  const found = importance?.word === word ? importance : null;
  const spans = words.flatMap((one, i) => {
    const value = found?.values[i];
    const number = found && short(found, value);
    const state = [one.given ? "given" : "added", i === word && "asked", (value != null || (found && found.asks === i && found.told)) && !found.estimate && !found.measuring && "measured", found?.named?.includes(i) && "named", found?.asks === i && "asks", data.tokens && i > 0 && !one.gap && "joined"];
    const span = h(
      "span",
      {
        id: `word-${i}`,
        role: "option",
        "aria-selected": i === word ? "true" : "false",
        "aria-label": number ? `${one.text}, ${number}` : one.text,
        class: ["word", ...state].filter(Boolean).join(" "),
        "data-place": i,
      },
      one.text,
      number && h("i", { class: "value", "aria-hidden": "true" }, number),
      one.tag && h("i", { class: "tag" }, one.tag),
    );
    return one.gap ? [h("span", { class: one.given ? "given" : "added" }, one.gap), span] : [span];
  });
  fill(element, spans, tail && h("span", { class: "added tail" }, tail));
  glow(element, found);
  widen(element);
  const place = (event) => event.target.closest?.(".word")?.dataset.place;
  element.onclick = (event) => place(event) && act.choose(Number(place(event)));
  element.onpointerover = (event) => place(event) && act.hover(Number(place(event)));
  element.onpointerout = (event) => place(event) && act.hover(null);
  element.setAttribute("aria-activedescendant", `word-${word}`);
  element.dataset.size = words.length > 200 ? "small" : words.length > MANY ? "middle" : "large";
}

// Lights the words by what each did, or none. Nothing moves, so that it can follow the pointer.
export function glow(element, found) {
  const strong = found ? strengths(found) : [];
  for (const span of element.querySelectorAll(":scope > .word")) {
    const i = Number(span.dataset.place);
    const heard = strong[i] ? sense(found, found.values[i]) : "";
    for (const name of ["raised", "lowered", "looked"]) span.classList.toggle(name, name === heard);
    span.classList.toggle("lit", found?.word === i);
    if (heard) span.style.setProperty("--s", strong[i].toFixed(3));
  }
}

// Makes room for numbers and labels that are wider than their words. All are measured before any is changed.
export function widen(element) {
  const lacks = new Map();
  for (const value of element.querySelectorAll(".value, .tag")) {
    const word = value.parentElement;
    lacks.set(word, Math.max(lacks.get(word) ?? 0, value.offsetWidth + GAP - word.offsetWidth));
  }
  for (const [word, lack] of lacks) if (lack > 0) {
    word.style.setProperty("margin-inline", `${lack / 2}px`);
    word.style.setProperty("white-space", "nowrap"); // or its line could end between the margin and the word
  }
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
  if (!one.tokens.length) return `${quoted(one.text)} · the model's answer`;
  const parts = [`${quoted(one.text)}, ${data.tokens ? "token" : "word"} ${i + 1}`];
  const tokens = one.tokens.map((token) => `[${token.includes("\ufffd") ? "part of a sign" : token.replace(/ /g, "·").replace(/\n/g, "↵")}]`).join(" ");
  if (data.tokens) parts.push(`${tokens} of the word ${quoted(around(words, i))}`);
  else parts.push(one.tokens.length === 1 ? `one token ${tokens}` : `${one.tokens.length} tokens ${tokens}`);
  const value = importance?.word === word ? importance.values[i] : undefined; // none for a word behind it
  const asked = words[word] ? said(words[word]) : "";
  if (value !== undefined) parts.push(importance.onwards ? `${short(importance, value) || "nothing"}: what it owes to ${asked}` : long(importance, value, asked));
  if (value !== undefined && importance.asks === i) parts.push("the model asks from here");
  if (i === word) parts.push("the word in question");
  return parts.join(" · ");
}
