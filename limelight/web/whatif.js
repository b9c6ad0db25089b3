// Before and after: words of the text replaced, swapped or removed, another text, another model, or parts of the model
// switched off. What is changed stands in the address. Of a translation, what was read can be changed, and the model.
import { compared, paired } from "./compared.js";
import { fill, h, note, percent, quoted, visible } from "./dom.js";
import { short } from "./loss.js";
import { widen } from "./sentence.js";

// What the address says of it: heads, layers, positions off, another text, another model.
export function change(state) {
  const off = (state.off ?? "").split(",").filter(Boolean);
  return {
    heads: off.filter((part) => /^h\d+\.\d+$/.test(part)).map((part) => part.slice(1).split(".").map(Number)),
    layers: off.filter((part) => /^l\d+$/.test(part)).map((part) => Number(part.slice(1))),
    positions: !off.includes("positions"),
    instead: state.instead,
    name: state.than,
  };
}

// data: { words, tail, word, importance, next, layer, head, given, text, models, model, after { words, importance, next } |
// { error } | null, changed, live, reads }. now: `change(…)`. picks: { list [places] }, kept by the caller. act: { change({ off,
// instead, than }) }. likely: gets likely words for a place of the text that is changed, or null where there are none.
export function whatIf(element, data, now, picks, act, again, likely) {
  const { words, word, layer, head, live } = data;
  const { translates, reads } = data.model;
  const after = data.after && !data.after.error ? found(data.after) : null;
  const changed = after ?? { words, word }; // what the next change begins with
  const can = translates || data.ahead || reads ? changed.words.filter((one) => one.given !== false).length : changed.words.length; // not what the model said
  const asked = words[word].text;
  const offs = (state) => [...state.heads.map(([l, i]) => `h${l}.${i}`), ...state.layers.map((l) => `l${l}`), ...(state.positions ? [] : ["positions"])].join(",") || null;
  const without = (list, item) => list.filter((one) => String(one) !== String(item));
  const has = (list, item) => list.some((one) => String(one) === String(item));
  const set = (more) => act.change({ off: offs({ ...now, ...more }) });
  const instead = (text) => {
    picks.list = [];
    act.change({ instead: text.trim() && text !== data.text ? text : null });
  };
  const chips = [
    ...now.heads.map((item) => [`layer ${item[0]}, head ${item[1]} off`, () => set({ heads: without(now.heads, item) })]),
    ...now.layers.map((item) => [`layer ${item} off`, () => set({ layers: without(now.layers, item) })]),
    ...(now.positions ? [] : [["positions off", () => set({ positions: true })]]),
    ...(now.name ? [[titled(data.models, now.name), () => act.change({ than: null })]] : []),
    ...(now.instead !== null ? [["another text", () => instead("")]] : []),
  ];
  const box = h("input", { name: "instead", value: now.instead ?? data.text, "aria-label": "the text to compare with", maxlength: 100000, dir: "auto", autocomplete: "off", disabled: !live });
  const button = (label, does, disabled) => h("button", { class: "small", onclick: does, disabled: disabled || !live }, label);
  const others = (data.models ?? []).filter((model) => model.name !== data.model.name);
  const other = h("select", { "aria-label": "another model", disabled: !live || !others.length, onchange: () => act.change({ than: other.value || null }) },
    h("option", { value: "" }, others.length ? "none" : "there is no other"), others.map((model) => h("option", { value: model.name, selected: model.name === now.name }, titled(others, model.name))));
  const switches = translates || reads || !data.model.heads.length ? [] : [
    button(`switch off head ${head} of layer ${layer}`, () => set({ heads: [...now.heads, [layer, head]] }), has(now.heads, [layer, head])),
    button(`switch off layer ${layer}`, () => set({ layers: [...now.layers, layer] }), has(now.layers, layer)),
    button("switch off positions", () => set({ positions: false }), !now.positions),
  ];
  const both = h("div", { class: "after" });
  fill(
    element,
    h("form", { class: "instead", onsubmit: (event) => (event.preventDefault(), instead(box.value)) },
      h("label", {}, "Compare with ", box), h("button", { class: "small", disabled: !live }, "compare"),
      h("label", { class: "than" }, "and under ", other)),
    h("div", { class: "tools" }, switches),
    chips.length > 0 && h("div", { class: "off" }, chips.map(([name, undo]) => h("button", { class: "chip", title: "as it was", onclick: undo }, name, " ×"))),
    live && tool(),
    both,
    note(
      translates
        ? "Choose words of the source to change them. Whatever else changes in the translation depended on them: a pronoun, an ending, the order."
        : `Above a word: what it did before; below: what it does after the change. Does ${quoted(asked)} still come from the same words? ${switches.length === 0 ? "" : "A head that looks important can often be spared. Positions off: each word sees the earlier ones in no order. ↑ ↓ and [ ] choose the head."}`,
    ),
  );
  body();

  function body() {
    if (!live) return fill(both, h("p", {}, "Open this sentence in limelight to change something."));
    const sentence = h("div");
    compared(sentence, { words, word, importance: data.importance }, after ?? { words, word, importance: null }, picks.list, can, { pick, swap });
    const show = (...more) => (fill(both, sentence, ...more), widen(sentence));
    if (data.after?.error) return show(h("p", { class: "error", role: "alert" }, data.after.error));
    if (!data.changed) return show();
    if (!after) return show(h("p", { class: "waiting", role: "status" }, "Measuring again", h("progress")));
    const was = data.importance?.probability;
    const said = after.words[after.word].text;
    show(
      h("div", { class: "sides" },
        h("section", {}, ...told("As it is", data.importance), ...told("After", after.importance),
          said === asked && was != null && after.importance.probability != null && h("p", { class: "said" }, `${quoted(asked)}: ${percent(was)} before, ${percent(after.importance.probability)} after.`),
          said === asked && moved(data, after)),
        h("section", {}, shares(after.next, data.next?.word === word ? data.next : null))),
    );
  }

  // One or two words, chosen to be replaced, removed or swapped.
  function pick(j) {
    picks.list = picks.list.includes(j) ? picks.list.filter((one) => one !== j) : [...picks.list, j].slice(-2);
    const typed = element.querySelector(".both:focus-visible");
    again();
    if (typed) element.querySelector(`[data-after="${j}"]`)?.focus(); // the same word, drawn anew
  }

  function tool() {
    const picked = picks.list.filter((j) => j < can);
    if (!picked.length) return h("p", { class: "picked faint" }, "Choose a word to replace or remove it, two to swap them; or drag one onto another.");
    const [a, b] = picked;
    const text = (j) => quoted(changed.words[j].text);
    if (picked.length === 2) return h("p", { class: "picked" }, button(`swap ${text(a)} and ${text(b)}`, () => swap(a, b)));
    const by = h("input", { name: "by", maxlength: 200, "aria-label": `instead of ${changed.words[a].text}`, autocomplete: "off" });
    const some = h("span", { class: "off" });
    likely?.(now.instead ?? data.text, a)?.then((found) => fill(some, found.map((name) => h("button", { class: "chip", type: "button", onclick: () => replaced({ [a]: name }) }, name))), () => {});
    return h("form", { class: "picked whynot", onsubmit: (event) => (event.preventDefault(), by.value.trim() && replaced({ [a]: by.value.trim() })) },
      h("label", {}, `instead of ${text(a)} `, by), h("button", { class: "small" }, "compare"), some,
      h("button", { class: "small", type: "button", onclick: () => replaced({ [a]: null }) }, "remove it"));
  }

  function swap(a, b) {
    if (a !== b && a < can) replaced({ [a]: changed.words[b].text, [b]: changed.words[a].text });
  }

  // The text with other words in some places, or without them; a capital letter at its beginning stays where it was.
  function replaced(places) {
    const read = changed.words.slice(0, can);
    const capital = /^\p{Lu}/u.test(read[0].text);
    const put = (text, j) => (capital && 0 in places && j > 0 && text === read[0].text ? text[0].toLowerCase() + text.slice(1) : text);
    const tail = translates ? (changed.words[can]?.gap.split("\n")[0] ?? "") : reads || after ? "" : data.tail;
    const text = read.map((one, j) => (places[j] === null ? "" : one.gap + (j in places ? put(places[j], j) : one.text))).join("") + tail;
    const whole = text.trimStart();
    instead(capital && whole ? whole[0].toUpperCase() + whole.slice(1) : whole);
  }
}

const found = ({ words, importance, next }) => ({ words: words.words, word: importance.word, importance, next });

// Which words count more or less than before: the three that moved furthest.
function moved(data, after) {
  const { words, importance } = data;
  if (!importance) return null;
  const number = (value) => short(after.importance, value) || "nothing";
  const rows = paired(words.map((one) => one.text), after.words.map((one) => one.text))
    .filter(({ before, after: now }) => before !== null && now !== null)
    .map((pair) => ({ text: words[pair.before].text, before: importance.values[pair.before], after: after.importance.values[pair.after] }))
    .filter(({ before, after }) => before != null && after != null)
    .sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before))
    .filter(({ before, after }) => number(before) !== number(after))
    .slice(0, 3);
  return rows.length > 0 && h("p", { class: "said" }, "Most changed: ", rows.map(({ text, before, after }) => `${quoted(text)} from ${number(before)} to ${number(after)}`).join(", "), ".");
}

const titled = (models, name) => (models?.find((model) => model.name === name)?.title || name.split(/[\\/]/).filter(Boolean).pop()).split(/[,(]/)[0].trim();

// The likeliest words after the change; what they had before is outlined behind them.
function shares(next, was) {
  const rows = (next?.rows ?? []).slice(0, 6);
  const before = new Map(was?.rows.map((row) => [row.token, row.share]));
  const most = Math.max(...rows.map((row) => Math.max(row.share, before.get(row.token) ?? 0)), 1e-9);
  return rows.length > 0 && h("table", { class: "shares" }, h("tbody", {}, rows.map((row) => {
    const old = before.get(row.token);
    return h("tr", {},
      h("td", {}, visible(row.token)),
      h("td", { class: "bar" }, h("span", { class: "fill plain-fill", style: { "--w": row.share / most } }), old !== undefined && h("span", { class: "was", style: { "--w": old / most } })),
      h("td", {}, percent(row.share)),
      was && h("td", { class: "faint" }, old === undefined ? "new here" : `was ${percent(old)}`));
  })));
}

const spoken = (sentence) => sentence.map((part) => part.text ?? part).join("");

// The answer and its check.
function told(title, importance) {
  if (!importance?.told) return [];
  const [said, hangs, ...check] = importance.told.map(spoken);
  return [h("p", { class: "said" }, h("b", {}, `${title}: `), said, " ", hangs), h("p", { class: `check ${importance.check?.holds ? "" : "doubt"}` }, check.join(" "))];
}
