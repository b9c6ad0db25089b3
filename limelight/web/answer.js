// The answer in a sentence, and the check of it in another.
import { COUNTS, fill, fold, h, listed, named, note, percent, quoted, signed, visible } from "./dom.js";

// data: { words, word, importance | null, progress | null, foil, error }. act: { choose(i), foil(null) }.
export function answer(element, data, act) {
  const { words, word, importance, progress, foil, error } = data;
  const asked = quoted(words[word]?.text ?? "");
  if (error) return fill(element, h("p", { class: "error", role: "alert" }, error));
  if (!importance) return fill(element, waiting(asked, progress));
  const { check } = importance;
  const shares = importance.kind === "attention";
  const rank = importance.values.map((value, i) => i).sort((a, b) => importance.values[b] - importance.values[a]);
  const top = (check?.top ?? rank.slice(0, 3)).filter((i) => importance.values[i] > 0);
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
      foil && [" ", h("button", { class: "small", onclick: () => act.foil(null) }, "back to all rivals")],
    ),
    checked(check, asked, words),
    note(
      shares
        ? `${importance.answers} Shares of that: where the model looks, which is not what changes its answer.`
        : importance.method !== "blocking"
        ? `${importance.answers} Above 0 the word speaks for ${asked}, below 0 against it. `
        : `The number under a word says how far the odds of ${asked} fall when the model is made deaf to it: +0.7 halves them, +2.3 leaves a tenth; below 0 they rise. `,
      shares ? null : foil ? `It was held against ${quoted(foil)}.` : ["It was held against ", ...listed(rivals.map(named), "or"), `; its own chance here is ${percent(importance.probability)}.`],
    ),
  );
}

function waiting(asked, progress) {
  const share = progress && progress.total > 1 ? progress.done / progress.total : null;
  return h(
    "p",
    { class: "waiting", role: "status" },
    progress?.note ?? `Listening without each word before ${asked}`,
    h("progress", share === null ? {} : { value: share, max: 1 }),
  );
}

function checked(check, asked, words) {
  if (!check) return h("p", { class: "check" }, "There are too few words to check this against random ones.");
  const count = COUNTS[check.k];
  const alike = check.best.length === check.top.length && check.best.every((i) => check.top.includes(i));
  const others = alike ? "" : `; deaf to ${listed(check.best.map((i) => named(words[i].text))).join("")}, which blocking names, they ${fold(check.best_drop)}`;
  return h(
    "p",
    { class: "check", title: `log-odds: −${check.drop.toFixed(1)} against −${check.random.toFixed(1)} ± ${check.spread.toFixed(1)} over 10 draws` },
    `Deaf to ${check.k === 1 ? "it" : `those ${count} together`}, the odds of ${asked} ${fold(check.drop)}; deaf to ${count} random word${check.k === 1 ? "" : "s"}, they ${fold(check.random)}${others}. `,
    h("span", { class: check.holds ? "holds" : "fails" }, check.holds ? "● This picture can be trusted." : "○ This picture cannot be trusted here."),
  );
}
