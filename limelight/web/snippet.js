// What is on the screen as a few lines of Python, to go on in a notebook.
import { download, fill, h } from "./dom.js";
import { change } from "./whatif.js";

// A text as Python writes it: JSON's escapes are Python's, too.
const python = (value) => JSON.stringify(value).replace(/[\u2028\u2029]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16)}`);

// view: see question.js. text: what is read, { given, added, ahead }. state: of the address. open: names of the doors.
export function snippet(view, text, state, open) {
  const { model, word, words, given, foil, method, layer, head, beside } = view;
  const lines = ["import limelight", "", `model = limelight.open(${python(model.name)})`];
  const named = (first) => [first, foil && `foil=${python(foil)}`, method && `method=${python(method)}`].filter(Boolean).join(", ");
  if (model.translates) {
    lines.push(`source = ${python(text.given)}`, "target = next(model.translate([source])).text", "print(target)", `model.look(source, target).importance(${named(word >= given && word < words.length - 1 ? String(word - given + 1) : "")})`);
    return lines.join("\n");
  }
  if (model.reads) {
    const { kind } = model.reads;
    const asks = { masked: word + 1, tags: word + 1, near: python(beside) }[kind];
    const read = kind === "masked" ? words.map((one) => one.gap + one.text).join("") : text.given;
    const seen = kind === "score" ? `SeenEncoded(model.opened, model.tokenizer, text, question=${python(beside)})` : `model.look(text${kind === "span" ? `, question=${python(beside)}` : ""})`;
    if (kind === "score") lines.splice(1, 0, "from limelight.look.encoded import SeenEncoded");
    lines.push(`text = ${python(read)}`, `seen = ${seen}`, `print(seen.importance(${named(asks === undefined ? "" : String(asks))}))`);
  } else {
    const whole = text.ahead ? text.given : text.given + text.added;
    lines.push(`text = ${python(whole)}`, "seen = model.look(text)");
    if (text.ahead) lines.push("print(seen.next_words(5))");
    lines.push(`print(seen.importance(${named(text.ahead ? "" : String(word + 1))}))`);
    const now = change(state);
    if (open.includes("what-if")) {
      const off = [now.heads.length && `heads_off=[${now.heads.map((item) => `(${item.join(", ")})`).join(", ")}]`, now.layers.length && `layers_off=[${now.layers.join(", ")}]`, !now.positions && "positions=False"].filter(Boolean);
      if (now.name) lines.push(`other = limelight.open(${python(now.name)})`);
      if (now.instead !== null || now.name) lines.push(`after = ${now.name ? "other" : "model"}.look(${now.instead === null ? "text" : python(now.instead)})`);
      if (off.length) lines.push(`after = ${now.instead !== null || now.name ? "after" : "seen"}.what_if(${off.join(", ")})`);
      if (off.length || now.instead !== null || now.name) lines.push("print(after.next_words(5))", "print(after.importance())");
    }
    if (open.includes("inside") && state.vector) lines.push("from limelight.look import SteeringVector", "", `vector = SteeringVector.load(${python(`vectors/${state.vector}.safetensors`)})`, `print(model.steered(vector, ${state.strength}).look(text).next_words(5))`);
    if (open.includes("layers")) lines.push(`seen.${text.ahead ? "ahead." : ""}lens(${word + 1})`);
    if (open.includes("steps")) lines.push(`seen.steps(${Math.max(1, word)}, layer=${layer}, head=${head})`);
  }
  if (model.heads.length && ["words", "heads", "spotlight", "spotlights"].some((name) => open.includes(name))) lines.push(`seen.attention(layer=${layer}, head=${head})  # a row for each word that looks`);
  return lines.join("\n");
}

// Opens the dialog.
export function showSnippet(dialog, code) {
  const copied = h("span", { class: "faint", role: "status" });
  fill(
    dialog,
    h("h2", {}, "The same in Python"),
    h("pre", { class: "code", tabindex: 0 }, code),
    h("p", { class: "turn-tools" },
      h("button", { class: "small", onclick: async () => ((await navigator.clipboard?.writeText(code)), (copied.textContent = "copied")) }, "copy"),
      h("button", { class: "small", onclick: () => download(new Blob([`${code}\n`], { type: "text/x-python" }), "limelight.py") }, "as a file"),
      copied),
    h("form", { method: "dialog" }, h("button", { class: "small" }, "close")),
  );
  if (!dialog.open) dialog.showModal();
}
