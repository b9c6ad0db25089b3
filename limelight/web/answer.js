// The answer in sentences, as Python tells it, and behind it how it was measured.
import { fill, h, listed, named, note, percent, quoted, said, set } from "./dom.js";
import { FALLS, folds, short, times } from "./loss.js";

// data: { words, word, importance | null, progress | null, foil, error }. act: { choose(i), foil(null) }.
export function answer(element, data, act) {
  const { words, word, importance, progress, foil, error } = data;
  const asked = words[word] && said(words[word]);
  if (error) return fill(element, h("p", { class: "error", role: "alert" }, error));
  if (!importance || importance.measuring) return fill(element, waiting("waiting", asked ? `Measuring which words made ${asked} likely` : "Reading the sentence", progress));
  if (importance.onwards) return fill(element, onwards(data, act));
  if (importance.estimate) return fill(element, estimate(progress));
  const [says, hangs, ...check] = importance.told.map((sentence) => told(sentence, act));
  fill(
    element,
    h(
      "p",
      { class: "answer" },
      says, " ", h("span", importance.named.length ? {} : { class: "doubt" }, hangs),
      foil && [" ", h("button", { class: "small", onclick: () => act.foil(null) }, "back to the question without it")],
    ),
    importance.checked === false ? waiting("checking", "Checking against other words", progress) : checked(importance, check),
    legend(importance, asked),
  );
}

// A sentence whose named words are buttons, where there is something to do with them.
export function told(sentence, act) {
  return sentence.map((part) => (typeof part === "string" ? set(part) : !act ? h("b", {}, set(part.text)) : h("button", { class: "plain", onclick: () => act.choose(part.word) }, h("b", {}, set(part.text)))));
}

function checked({ named, check }, sentences) {
  const said = named.length ? sentences.flatMap((sentence) => [...sentence, " "]) : "No word is named, so there is nothing to check.";
  return h("p", { class: `check ${check?.holds ? "" : "doubt"}` }, said);
}

// What the numbers under the words are.
function legend(importance, asked) {
  const { kind, method, values, answers, unit, foil, asks } = importance;
  if (kind === "attention") return note(`${answers} The numbers are shares: where the model looks, which is not what changes its answer.`);
  if (FALLS[unit]) return note(`Under a word: by how much the ${FALLS[unit]} falls, on average, with another likely word there. More: it rises. No number: it stays.`);
  if (!folds(importance)) return note(`${answers} The numbers are in a unit of its own: ${unit}.`);
  const beside = foil ? ` beside ${quoted(foil)}` : "";
  const how = method === "measured" ? ", on average, with another likely word there" : ", by the method chosen below";
  const left = values.filter((value, i) => value == null && i !== asks).length;
  return note(
    `Under a word: how many times less likely ${asked} gets${beside}${how}. `,
    values.some((value) => short(importance, value).endsWith("more")) && "More: likelier without it. ",
    left ? `${left === 1 ? "One word" : `${left.toLocaleString("en")} words`} to which a quick reading gave less ${left === 1 ? "was" : "were"} not measured one by one.` : `No number: it changes little${values[asks] === null ? ", or the model asks from it" : ""}.`,
  );
}

// A word of a source text: what the translation owes to it.
function onwards({ words, word, importance }, act) {
  const asked = quoted(words[word].text);
  const rank = words.map((_, i) => i).filter((i) => importance.values[i] > 0 && short(importance, importance.values[i])).sort((a, b) => importance.values[b] - importance.values[a]).slice(0, 3);
  const button = (i) => h("button", { class: "plain", onclick: () => act.choose(i) }, h("b", {}, named(words[i].text)), ` ${short(importance, importance.values[i])}`);
  return [
    h("p", { class: "answer" }, rank.length ? [asked, " mattered most for ", ...listed(rank.map(button)), "."] : `No word of the translation owes anything to ${asked}.`),
    h("p", { class: "check" }, "Choose one of them to see what else it comes from, and the check."),
    note(`The number under a word of the translation: how many times less likely it becomes, on average, when another word that means much the same stands in the place of ${asked} in the source.`),
  ];
}

function estimate(progress) {
  return [
    h("p", { class: "answer" }, h("b", {}, "An estimate"), " from one reading: these words may have done most."),
    waiting("waiting", "Measuring them one by one", progress),
  ];
}

function waiting(name, what, progress) {
  const bar = h("progress");
  const line = h("p", { class: name, role: "status" }, progress?.note ?? what, bar, h("span", { class: "left" }));
  if (progress) advance(bar, progress);
  return line;
}

// How far it is, and how long it will take. progress: { done, total, seconds since it began }.
export function advance(bar, { done, total, seconds }) {
  if (!(total > 1)) return;
  bar.max = total;
  bar.value = done;
  const left = (seconds * (total - done)) / done;
  bar.nextSibling.textContent = done > total / 20 && left > 2 ? `about ${Math.round(left)} s left` : "";
}

const WAYS = {
  replaced: "other likely words in their places, by the one that does least",
  blocked: "hidden from all other words",
  deleted: "deleted, so that what follows moves up",
};

// How it was measured, for those who want to know. Nothing where there is no answer.
export function numbers(element, { words, word, importance }) {
  if (!importance?.told) return fill(element);
  const { answers, unit, losses, check, rank, expected, probability, values, foil } = importance;
  const asked = said(words[word]);
  const lost = FALLS[importance.answer_unit];
  const beside = foil ? ` beside ${quoted(foil)}` : "";
  const number = (value) => value.toFixed(2).replace("-", "−");
  const names = listed(importance.named.map((i) => quoted(words[i].text))).join("");
  const rows = Object.entries(losses).map(([way, loss]) => h("tr", {}, h("td", {}, WAYS[way]), h("td", {}, number(loss)), !lost && h("td", {}, `${times(loss)} times ${loss < 0 ? "more" : "less"} likely${beside}`)));
  const measured = values.map((_, i) => i).filter((i) => values[i] != null).sort((a, b) => values[b] - values[a]).slice(0, 12);
  const others = check && `${check.every ? "all" : "drawn at random:"} ${check.sets.toLocaleString("en")}`;
  fill(
    element,
    !lost && h("p", {}, `${answers} `, `The model gives ${asked} ${percent(probability)} here${rank ? `; it is its no. ${rank.toLocaleString("en")}` : ""}${rank > 1 && expected ? `, behind ${quoted(expected)}` : ""}.`),
    rows.length > 0 && h("table", {}, h("caption", {}, lost ? `Without ${names} the ${lost} falls by` : `Without ${names} the ${foil ? "log-odds" : "log-probability"} of ${asked} falls by`), h("tbody", {}, rows)),
    check && h("p", {}, `The check deletes as many other words (${others}): ${check.better.toLocaleString("en")} of those sets lower it as much. It holds if at most one set in twenty does.`),
    h("p", {}, `Word by word, in ${unit}: `, listed(measured.map((i) => `${named(words[i].text)} ${number(values[i])}`)).join(""), values.length > measured.length ? " …" : ""),
  );
}
