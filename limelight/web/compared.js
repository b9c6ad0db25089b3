// Before and after in one sentence: what is gone struck out, what is new underlined, and on each word both lights, the
// one before above and the one after below.
import { fill, h, isolated, quoted } from "./dom.js";
import { long, sense, short, strengths } from "./loss.js";

// Which words of two texts are the same, in order: [{ before, after }], places or null; each that is gone stands before
// the new one in its place. a, b: texts of words.
export function paired(a, b) {
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1)); // longest common parts
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--) common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  const found = [];
  let [gone, fresh] = [[], []];
  const settle = () => {
    for (let k = 0; k < Math.max(gone.length, fresh.length); k++) found.push(...gone.slice(k, k + 1), ...fresh.slice(k, k + 1));
    [gone, fresh] = [[], []];
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) (settle(), found.push({ before: i++, after: j++ }));
    else if (i < a.length && (j === b.length || common[i + 1][j] >= common[i][j + 1])) gone.push({ before: i++, after: null });
    else fresh.push({ before: null, after: j++ });
  }
  settle();
  return found;
}

// before, after: { words, word, importance }. picked: places in `after` that are chosen to be changed. act: { pick(j),
// swap(i, j) } or null where nothing can be changed. can: how many words of `after` can.
export function compared(element, before, after, picked, can, act) {
  const about = h("p", { class: "said about", role: "status" });
  const lights = [before, after].map(({ importance, word }) => (importance?.word === word ? { found: importance, strong: strengths(importance) } : null));
  const light = (side, place) => {
    const { found, strong } = lights[side] ?? {};
    if (!found || place === null || found.values[place] == null) return null;
    return { strength: strong[place] ?? 0, sense: sense(found, found.values[place]), number: short(found, found.values[place]), told: long(found, found.values[place], quoted([before, after][side].words[found.word].text)) };
  };
  const words = paired(before.words.map((one) => one.text), after.words.map((one) => one.text)).flatMap((pair, at, all) => {
    const [was, is] = [light(0, pair.before), light(1, pair.after)];
    const one = pair.after === null ? before.words[pair.before] : after.words[pair.after];
    const kind = pair.after === null ? "gone" : pair.before === null ? "new" : "same";
    const asked = pair.after === after.word || pair.before === before.word;
    const free = act && pair.after !== null && pair.after < can;
    const tell = () => (about.textContent = [quoted(one.text), was && `before: ${was.told}`, is && `after: ${is.told}`, kind !== "same" && kind].filter(Boolean).join(" · "));
    const word = h(
      free ? "button" : "span",
      {
        class: ["both", kind, asked && "asked", picked.includes(pair.after) && pair.after !== null && "picked-word", one.given === false && "added"].filter(Boolean).join(" "),
        style: { "--b": was?.strength ?? 0, "--a": is?.strength ?? 0, "--bc": `var(--${was?.sense ?? "raised"})`, "--ac": `var(--${is?.sense ?? "raised"})` },
        "data-after": pair.after ?? false,
        "aria-pressed": free && (picked.includes(pair.after) ? "true" : "false"),
        draggable: free && "true",
        onclick: () => free && act.pick(pair.after),
        onpointerenter: tell,
        onfocus: tell,
        ondragstart: (event) => event.dataTransfer.setData("text/plain", pair.after),
        ondragover: (event) => free && event.preventDefault(),
        ondrop: (event) => (event.preventDefault(), free && act.swap(Number(event.dataTransfer.getData("text/plain")), pair.after)),
      },
      was?.number && h("i", { class: "value was-value", "aria-hidden": "true" }, was.number),
      h(kind === "gone" ? "del" : kind === "new" ? "ins" : "span", {}, isolated(one.text)),
      is?.number && h("i", { class: "value", "aria-hidden": "true" }, is.number),
    );
    const instead = kind === "new" && all[at - 1]?.after === null; // what took another's place stands right behind it
    return [instead || (!one.gap && kind !== "same") ? " " : one.gap, word];
  });
  fill(element, h("div", { class: "compared", dir: "auto" }, words), about);
}
