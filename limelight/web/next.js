// What could stand in the place of the word in question, and what the settings cut.
import { END, fill, h, note, percent, quoted, visible } from "./dom.js";

const says = (token) => token.trim() && token !== END && !token.includes("\ufffd"); // whether it is a word that could be asked about

// data: { next | null, words, word, foil, settings, live }. act: { foil(token), settings({...}), again() }.
export function likely(element, data, act) {
  const { words, word, foil, live } = data;
  const next = data.next?.word === word ? data.next : null; // never the words for another place
  if (!next) return fill(element, h("p", { class: "waiting", role: "status" }, "Reading the sentence", h("progress")));
  const most = Math.max(...next.rows.map((row) => Math.max(row.share, row.kept)), 1e-9);
  const asked = words[word]?.text ?? "";
  const rows = next.rows.map((row, i) => {
    const own = i === next.asked;
    const name = visible(row.token);
    const chosen = foil !== null && foil.trim() === row.token.trim();
    return h(
      "li",
      { class: `${row.kept ? "" : "cut"} ${own ? "own" : ""} ${chosen ? "foil" : ""}` },
      h(
        "button",
        {
          class: "row",
          disabled: own || !live || !says(row.token),
          "aria-pressed": chosen ? "true" : "false",
          "aria-label": `${name}, ${percent(row.share)}${row.cut ? `, cut by ${row.cut}` : ""}${own ? ", the word in question" : `; why not ${name}?`}`,
          onclick: () => act.foil(chosen ? null : row.token.trim()),
        },
        h("span", { class: "token" }, name),
        h(
          "span",
          { class: "bars", "aria-hidden": "true" },
          h("span", { class: "share", style: { "--w": row.share / most } }),
          h("span", { class: "kept", style: { "--w": row.kept / most } }),
        ),
        h("span", { class: "number" }, percent(row.share)),
        h(
          "span",
          { class: "why" },
          own ? `in question, no. ${row.rank.toLocaleString("en")}` : data.model?.translates || data.reads ? `no. ${row.rank}` : row.cut ? `cut by ${row.cut}` : `drawn ${percent(row.kept)}`,
        ),
        own || !live || !says(row.token) ? null : h("span", { class: "hint" }, `why not ${quoted(name)}?`),
      ),
    );
  });
  fill(
    element,
    h("ol", { class: "next", "aria-label": `Likely words instead of ${asked}` }, rows),
    note(`${data.model?.translates || data.reads ? "How likely the model finds each here." : "Outlined: how likely the model finds a word here. Filled: what the settings make of that."} Choose one to ask why not that one.`),
  );
}

// The likeliest words on one line; one that is chosen takes the place of what the model would have said.
// act: { take(token), foil(token) }.
export function chips(element, data, act) {
  const next = data.next?.word === data.word ? data.next : null;
  if (!next) return fill(element, h("span", { class: "faint" }, "\u00a0"));
  const most = Math.max(...next.rows.map((row) => row.share), 1e-9);
  const own = data.words[data.word];
  const begun = own?.tokens.length > 1 && !data.reads; // the word in question goes on behind its first piece
  fill(
    element,
    h("span", { class: "faint" }, data.reads ? (data.reads.kind === "masked" ? "Likely here: " : "Its labels: ") : own?.given ? "Likely here: " : "Likely next: "),
    next.rows.slice(0, 6).map((row, i) => {
      const name = visible(row.token);
      if (next.rows.slice(0, i).some((other) => visible(other.token) === name) && i !== next.asked) return null; // without the space in front
      const inside = [h("span", { class: "token" }, name, i === next.asked && begun && says(row.token) && "…"), h("span", { class: "number" }, percent(row.share)), h("span", { class: "bar", "aria-hidden": "true", style: { "--w": row.share / most } })];
      if (data.reads && i !== next.asked) return h("button", { class: "likelier", title: `why not ${name}?`, onclick: () => act.foil(row.token.trim()) }, inside);
      if (i === next.asked || !data.live || !data.ahead || !says(row.token)) return h("span", { class: `likelier ${i === next.asked ? "own" : ""}` }, inside);
      return h("button", { class: "likelier", title: `go on with ${name}`, onclick: () => act.take(row.token) }, inside);
    }),
  );
}

// The sliders are made once, so that one being dragged is never replaced.
export function sliders(element, settings, act, live) {
  const slider = (name, label, low, high, step, show, title) => {
    const shown = h("output", {}, show(settings[name]));
    const input = h("input", {
      type: "range", min: low, max: high, step, value: settings[name], disabled: !live, title, "aria-label": label,
      oninput: () => {
        shown.textContent = show(Number(input.value));
        act.settings({ [name]: Number(input.value) });
      },
    });
    return h("label", { class: "slider", title }, h("span", {}, label), input, shown);
  };
  fill(
    element,
    slider("temperature", "temperature", 0, 2, 0.05, (v) => (v === 0 ? "always the likeliest" : v.toFixed(2)), "0 always takes the likeliest word; higher is bolder"),
    slider("k", "top-k", 1, 50, 1, (v) => (v === 50 ? "off" : `the ${v} likeliest`), "draw among so many words only"),
    slider("p", "top-p", 0.05, 1, 0.05, (v) => (v === 1 ? "off" : `${Math.round(100 * v)} % of the probability`), "draw among the likeliest words that make up this share"),
    live && h("button", { class: "small", onclick: () => act.again(), title: "key: r" }, "continue differently"),
    note("The first word that the model adds is its likeliest; those behind it are drawn with these settings. What they cut is struck out, and the rest shares its probability."),
    live ? null : note("Open this sentence in limelight to change these."),
  );
}
