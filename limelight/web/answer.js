// The answer in a sentence, and the check of it in another.
import { COUNTS, fill, fold, h, listed, named, note, percent, quoted, signed, visible } from "./dom.js";

// data: { words, word, importance | null, progress | null, foil, error }. act: { choose(i), foil(null) }.
export function answer(element, data, act) {
  const { words, word, importance, progress, foil, error } = data;
  const asked = quoted(words[word]?.text ?? "");
  if (error) return fill(element, h("p", { class: "error", role: "alert" }, error));
  if (!importance) return fill(element, waiting(asked, progress));
  if (importance.onwards) return fill(element, onwards(data, act));
  const { check } = importance;
  const shares = importance.kind === "attention";
  const rank = importance.values.map((_, i) => i).sort((a, b) => importance.values[b] - importance.values[a]);
  const top = rank.slice(0, check?.k ?? Math.min(3, Math.max(1, Math.floor((rank.length - 1) / 2)))).filter((i) => importance.values[i] > (shares ? 0 : 0.05)); // what is written as 0 is not named
  const button = (i) =>
    h("button", { class: "plain", onclick: () => act.choose(i) }, h("b", {}, named(words[i].text)), ` ${shares ? importance.values[i].toFixed(2) : signed(importance.values[i])}`);
  const rivals = [...new Set(importance.against.map((token) => visible(token).trim()).filter(Boolean))];
  fill(
    element,
    h(
      "p",
      { class: "answer" },
      top.length === 0
        ? `No word before it made ${asked} likelier.`
        : [asked, shares ? " is looked for most at " : foil ? ` rather than ${quoted(foil)}, because of ` : " listened most to ", ...listed(top.map(button)), "."],
      foil && [" ", h("button", { class: "small", onclick: () => act.foil(null) }, "back to all other words")],
    ),
    importance.checked === false ? checking(progress) : checked(check, asked, words, top),
    note(
      shares
        ? `${importance.answers} The numbers are shares: where the model looks, which is not what changes its answer.`
        : importance.method !== "blocking"
        ? `${importance.answers} Above 0 the word speaks for ${asked}, below 0 against it. `
        : `The number under a word says how far the odds of ${asked} fall when the model is made deaf to that word: +0.7 halves them, +2.3 leaves a tenth; below 0 they rise. `,
      shares ? null : foil ? `It was compared with ${quoted(foil)}.` : ["It was compared with ", ...listed(rivals.map(named), "or"), `; its own probability here is ${percent(importance.probability)}.`],
    ),
  );
}

// A word of a source text: what the translation owes to it.
function onwards({ words, word, importance }, act) {
  const asked = quoted(words[word].text);
  const rank = words.map((_, i) => i).filter((i) => importance.values[i] > 0.05).sort((a, b) => importance.values[b] - importance.values[a]).slice(0, 3);
  const button = (i) => h("button", { class: "plain", onclick: () => act.choose(i) }, h("b", {}, named(words[i].text)), ` ${signed(importance.values[i])}`);
  return [
    h("p", { class: "answer" }, rank.length ? [asked, " mattered most for ", ...listed(rank.map(button)), "."] : `No word of the translation owes anything to ${asked}.`),
    h("p", { class: "check" }, "Choose one of them to see what else it comes from, and the check."),
    note(`The number under a word of the translation says how far its odds fall without ${asked} in the source: +0.7 halves them, +2.3 leaves a tenth; below 0 they rise.`),
  ];
}

const bar = (progress) => h("progress", progress && progress.total > 1 ? { value: progress.done / progress.total, max: 1 } : {});

function waiting(asked, progress) {
  return h("p", { class: "waiting", role: "status" }, progress?.note ?? `Finding the words that made ${asked} likely`, bar(progress));
}

function checking(progress) {
  return h("p", { class: "checking", role: "status" }, "Checking: blocking these words together, and random ones ", bar(progress));
}

// told: the words that the answer names; of those the one that asks is not among the blocked.
function checked(check, asked, words, told) {
  if (!check) return h("p", { class: "check" }, "There are too few words to compare this with random ones.");
  const count = COUNTS[check.k];
  const same = (places) => places.length === check.k && places.every((i) => check.top.includes(i));
  const blocked = !same(told) ? listed(check.top.map((i) => named(words[i].text))).join("") : check.k === 1 ? "it" : `those ${count} together`;
  const others = same(check.best) ? "" : `; deaf to ${listed(check.best.map((i) => named(words[i].text))).join("")}, which blocking names, they ${fold(check.best_drop)}`;
  return h(
    "p",
    { class: "check", title: `log-odds: ${signed(-check.drop)} against ${signed(-check.random)} ± ${check.spread.toFixed(1)} over 10 draws` },
    `When the model is deaf to ${blocked}, the odds of ${asked} ${fold(check.drop)}; deaf to ${count} random word${check.k === 1 ? "" : "s"}, they ${fold(check.random)}${others}. `,
    h("span", { class: check.holds ? "holds" : "fails" }, check.holds ? "● This picture can be trusted." : "○ This picture cannot be trusted here."),
  );
}
