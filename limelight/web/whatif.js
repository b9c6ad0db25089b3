// Before and after: parts of the model switched off, words replaced or swapped, another sentence, or another model.
// Of a translation, what was read can be changed, and the model.
import { fill, h, note, percent, quoted, visible } from "./dom.js";
import { short } from "./loss.js";
import { sentence } from "./sentence.js";

// data: { words, tail, word, importance, next, layer, head, text, models, model, after { words, importance, next } |
// { error } | null, changed, live }. change: { heads [[l, h]], layers [l], positions, instead, name, picked [i] }, kept
// by the caller.
export function whatIf(element, data, change, again) {
  const { words, word, layer, head, after, live } = data;
  const read = data.model.translates || data.ahead ? words.slice(0, data.given) : words; // what can be changed: not what the model said
  const asked = words[word].text;
  const toggle = (list, item) => {
    const at = list.findIndex((one) => String(one) === String(item));
    if (at < 0) list.push(item);
    else list.splice(at, 1);
    again();
  };
  const set = (name, value) => {
    change[name] = value;
    again();
  };
  const off = [
    ...change.heads.map((item) => [`layer ${item[0]}, head ${item[1]} off`, () => toggle(change.heads, item)]),
    ...change.layers.map((item) => [`layer ${item} off`, () => toggle(change.layers, item)]),
    ...(change.positions ? [] : [["positions off", () => set("positions", true)]]),
    ...(change.name ? [[titled(data.models, change.name), () => set("name", null)]] : []),
    ...(change.instead !== null && change.instead !== data.text ? [["another sentence", () => set("instead", null)]] : []),
  ];
  const instead = h("input", { name: "instead", value: change.instead ?? data.text, "aria-label": "the sentence instead", maxlength: 100000, dir: "auto", autocomplete: "off", disabled: !live });
  const isOff = (list, item) => list.some((one) => String(one) === String(item));
  const button = (label, does, disabled) => h("button", { class: "small", onclick: does, disabled: disabled || !live }, label);
  const others = (data.models ?? []).filter((model) => model.name !== data.model.name);
  const other = h("select", { "aria-label": "another model", disabled: !live || !others.length, onchange: () => set("name", other.value || null) },
    h("option", { value: "" }, others.length ? "none" : "there is no other"), others.map((model) => h("option", { value: model.name, selected: model.name === change.name }, titled(others, model.name))));
  const switches = data.model.translates ? [] : [
    button(`switch off head ${head} of layer ${layer}`, () => toggle(change.heads, [layer, head]), isOff(change.heads, [layer, head])),
    button(`switch off layer ${layer}`, () => toggle(change.layers, layer), isOff(change.layers, layer)),
    button("switch off positions", () => set("positions", false), !change.positions),
  ];
  fill(
    element,
    h("div", { class: "tools" },
      switches,
      h("label", {}, "another model ", other)),
    h("form", { class: "instead", onsubmit: (event) => (event.preventDefault(), set("instead", instead.value.trim() ? instead.value : null)) },
      h("label", {}, "or another sentence ", instead), h("button", { class: "small", disabled: !live }, "compare")),
    live && words_(),
    off.length > 0 && h("div", { class: "off" }, off.map(([name, undo]) => h("button", { class: "chip", title: "as it was", onclick: undo }, name, " ×"))),
    h("div", { class: "sides" },
      h("section", { class: "before" }, h("h2", {}, "As it is"), contents({ words, word, importance: data.importance, next: data.next }, null, live ? pick : () => {})),
      h("section", { class: "after" }, h("h2", {}, "After"), body())),
    note(
      data.model.translates
        ? "Choose words of the source to change them. Whatever else changes in the translation depended on them: a pronoun, an ending, the order."
        : `Does ${quoted(asked)} still come from the same words? A head that looks important can often be spared; the sum is what counts. Positions off: each word sees the earlier ones in no order. ↑ ↓ and [ ] choose the head.`,
    ),
  );

  // One or two words of the sentence, chosen to be replaced or swapped.
  function pick(i) {
    if (i >= read.length) return;
    const at = change.picked.indexOf(i);
    if (at < 0) change.picked = [...change.picked, i].slice(-2);
    else change.picked.splice(at, 1);
    again();
  }

  function words_() {
    const picked = change.picked.filter((i) => i < read.length);
    if (!picked.length) return h("p", { class: "picked faint" }, "Choose one word below to replace it, or two to swap them.");
    const [a, b] = picked;
    if (picked.length === 2) return h("p", { class: "picked" }, button(`swap ${quoted(words[a].text)} and ${quoted(words[b].text)}`, () => replaced({ [a]: words[b].text, [b]: words[a].text })));
    const by = h("input", { name: "by", maxlength: 200, "aria-label": `instead of ${words[a].text}`, autocomplete: "off" });
    return h("form", { class: "picked whynot", onsubmit: (event) => (event.preventDefault(), by.value.trim() && replaced({ [a]: by.value.trim() })) },
      h("label", {}, `instead of ${quoted(words[a].text)} `, by), h("button", { class: "small" }, "compare"));
  }

  // The sentence with other words in some places; a capital letter at its beginning stays where it was.
  function replaced(others) {
    change.picked = [];
    const capital = /^\p{Lu}/u.test(words[0].text);
    const put = (text, i) => {
      if (!capital || !(0 in others)) return text;
      if (i === 0) return text[0].toUpperCase() + text.slice(1);
      return others[i] === words[0].text ? text[0].toLowerCase() + text.slice(1) : text;
    };
    const tail = data.model.translates ? (words[read.length]?.gap.split("\n")[0] ?? "") : data.tail;
    set("instead", read.map((one, i) => one.gap + (i in others ? put(others[i], i) : one.text)).join("") + tail);
  }

  function body() {
    if (!live) return h("p", {}, "Open this sentence in limelight to change something.");
    if (!data.changed) return h("p", { class: "faint" }, "Switch something off, or change the sentence, to see what that does.");
    if (after?.error) return h("p", { class: "error", role: "alert" }, after.error);
    if (!after) return h("p", { class: "waiting", role: "status" }, "Measuring again", h("progress"));
    const found = { words: after.words.words, word: after.importance.word, importance: after.importance, next: after.next };
    const was = data.importance?.probability;
    const said = found.words[found.word].text;
    return [
      ...contents(found, data, () => {}),
      said === asked && was && h("p", { class: "said" }, `${quoted(asked)}: ${percent(was)} before, ${percent(found.importance.probability)} after.`),
      said === asked && words.length === found.words.length && moved(data.importance, words, found),
    ];
  }
}

// Which words count more or less than before, told by their places: the three that moved furthest.
function moved(importance, words, found) {
  if (!importance) return null;
  const rows = found.importance.values
    .map((value, i) => ({ i, before: importance.values[i], after: value }))
    .filter(({ before, after }) => before != null && after != null)
    .sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before))
    .slice(0, 3);
  if (!rows.length) return null;
  const name = (i) => (words[i].text === found.words[i].text ? words[i].text : `${words[i].text} → ${found.words[i].text}`);
  const number = (value) => short(found.importance, value) || "nothing";
  return h("p", { class: "said" }, "Most changed: ", rows.map(({ i, before, after }) => `${name(i)} from ${number(before)} to ${number(after)}`).join(", "), ".");
}

const titled = (models, name) => (models?.find((model) => model.name === name)?.title || name.split(/[\\/]/).filter(Boolean).pop()).split(/[,(]/)[0].trim();

// was: what stood there before; its shares are outlined behind those of now.
function contents(found, was, choose) {
  const shown = h("div", { class: "small-sentence", dir: "auto" });
  sentence(shown, { ...found, tail: "" }, { choose, hover() {} });
  shown.querySelectorAll("[id]").forEach((word) => ["id", "role", "aria-selected"].forEach((name) => word.removeAttribute(name)));
  shown.removeAttribute("aria-activedescendant");
  const rows = (found.next?.rows ?? []).slice(0, 6);
  const before = new Map(was?.next?.rows.map((row) => [row.token, row.share]));
  const most = Math.max(...rows.map((row) => Math.max(row.share, before.get(row.token) ?? 0)), 1e-9);
  return [
    shown,
    h("table", { class: "shares" }, h("tbody", {}, rows.map((row) => {
      const old = before.get(row.token);
      return h("tr", {},
        h("td", {}, visible(row.token)),
        h("td", { class: "bar" }, h("span", { class: "fill plain-fill", style: { "--w": row.share / most } }), old !== undefined && h("span", { class: "was", style: { "--w": old / most } })),
        h("td", {}, percent(row.share)),
        was?.next && h("td", { class: "faint" }, old === undefined ? "new here" : `was ${percent(old)}`));
    }))),
    ...told(found.importance),
  ];
}

const spoken = (sentence) => sentence.map((part) => part.text ?? part).join("");

// The answer and its check.
function told(importance) {
  if (!importance?.told) return [];
  const [said, hangs, ...check] = importance.told.map(spoken);
  return [h("p", { class: "said" }, said, " ", hangs), h("p", { class: `check ${importance.check?.holds ? "" : "doubt"}` }, check.join(" "))];
}
