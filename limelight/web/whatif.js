// Before and after: parts of the model switched off, or another sentence.
import { fill, fold, h, note, percent, quoted, visible } from "./dom.js";
import { sentence } from "./sentence.js";

const still = { choose() {}, hover() {} };

// data: { words, word, importance, next, layer, head, text, after { words, importance, next } | { error } | null,
// progress | null, changed, live }. change: { heads [[l, h]], layers [l], positions, instead }, kept by the caller.
export function whatIf(element, data, change, again) {
  const { words, word, layer, head, after, live } = data;
  const asked = words[word].text;
  const toggle = (list, item) => {
    const at = list.findIndex((one) => String(one) === String(item));
    if (at < 0) list.push(item);
    else list.splice(at, 1);
    again();
  };
  const off = [
    ...change.heads.map((item) => [`layer ${item[0]}, head ${item[1]}`, () => toggle(change.heads, item)]),
    ...change.layers.map((item) => [`layer ${item}`, () => toggle(change.layers, item)]),
    ...(change.positions ? [] : [["positions", () => ((change.positions = true), again())]]),
  ];
  const instead = h("input", { name: "instead", value: change.instead ?? data.text, "aria-label": "the sentence instead", maxlength: 100000, dir: "auto", autocomplete: "off", disabled: !live });
  const isOff = (list, item) => list.some((one) => String(one) === String(item));
  const button = (label, does, disabled) => h("button", { class: "small", onclick: does, disabled: disabled || !live }, label);
  fill(
    element,
    h("div", { class: "tools" },
      button(`switch off head ${head} of layer ${layer}`, () => toggle(change.heads, [layer, head]), isOff(change.heads, [layer, head])),
      button(`switch off layer ${layer}`, () => toggle(change.layers, layer), isOff(change.layers, layer)),
      button("switch off positions", () => ((change.positions = false), again()), !change.positions),
      h("span", { class: "off" }, off.map(([name, undo]) => h("button", { class: "chip", title: "switch on again", onclick: undo }, name, " ×")))),
    h("form", { class: "instead", onsubmit: (event) => (event.preventDefault(), (change.instead = instead.value.trim() ? instead.value : null), again()) },
      h("label", {}, "or another sentence ", instead), h("button", { class: "small", disabled: !live }, "compare")),
    h("div", { class: "sides" },
      side("before", "As it is", { words, word, importance: data.importance, next: data.next }, asked),
      h("section", { class: "after" }, h("h2", {}, "After"), body())),
    note(`Does ${quoted(asked)} still come from the same words? Heads that look telling can often be missed; the sum is what counts. Positions off: the words become a heap. ↑ ↓ and [ ] choose the head.`),
  );

  function body() {
    if (!live) return h("p", {}, "Open this sentence in limelight to change something.");
    if (!data.changed) return h("p", { class: "faint" }, "Switch something off, or change the sentence, to see what that does.");
    if (after?.error) return h("p", { class: "error", role: "alert" }, after.error);
    if (!after) return h("p", { class: "waiting", role: "status" }, "Listening without each word", h("progress"));
    const found = { words: after.words.words, word: after.importance.word, importance: after.importance, next: after.next };
    const was = data.importance?.probability;
    const now = found.importance.probability;
    return [
      ...contents(found),
      was && h("p", { class: "said" }, `${quoted(found.words[found.word].text)}: ${percent(was)} before, ${percent(now)} after.`),
    ];
  }
}

function side(name, title, found) {
  return h("section", { class: name }, h("h2", {}, title), contents(found));
}

function contents(found) {
  const shown = h("div", { class: "small-sentence", dir: "auto" });
  sentence(shown, { ...found, tail: "" }, still);
  shown.querySelectorAll("[id]").forEach((word) => ["id", "role", "aria-selected"].forEach((name) => word.removeAttribute(name)));
  shown.removeAttribute("aria-activedescendant");
  const rows = (found.next?.rows ?? []).slice(0, 6);
  const most = Math.max(...rows.map((row) => row.share), 1e-9);
  return [
    shown,
    h("table", { class: "shares" }, h("tbody", {}, rows.map((row) => h("tr", {}, h("td", {}, visible(row.token)), h("td", { class: "bar" }, h("span", { class: "fill plain-fill", style: { "--w": row.share / most } })), h("td", {}, percent(row.share)))))),
    checked(found.importance?.check),
  ];
}

function checked(check) {
  if (!check) return null;
  return h("p", { class: "check" }, `Deaf to its top ${check.k}, the odds ${fold(check.drop)}; to random ones, they ${fold(check.random)}. `, h("span", { class: check.holds ? "holds" : "fails" }, check.holds ? "● trusted" : "○ not trusted"));
}
