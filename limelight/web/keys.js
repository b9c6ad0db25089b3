// Every action has a key.
import { fill, h } from "./dom.js";

export function keys(page, act, doors) {
  const table = [
    ["←  →", "the word in question", { ArrowLeft: () => act.step(-1), ArrowRight: () => act.step(1) }],
    ["↑  ↓", "the layer, in an open view", { ArrowUp: () => act.walk(-1, 0), ArrowDown: () => act.walk(1, 0) }],
    ["[  ]", "head", { "[": () => act.walk(0, -1), "]": () => act.walk(0, 1) }],
    [`1 – ${doors.length}`, "doors", Object.fromEntries(doors.map((_, i) => [String(i + 1), () => act.nth(i)]))],
    ["b", "another door beside the one that is open", { b: () => act.besideNext() }],
    ["c", "the next of the six cards", { c: () => act.card(1) }],
    ["l", "the cards as slides, for a lesson; Page Up and Page Down turn them", { l: () => act.lesson([]), PageUp: () => act.card(-1), PageDown: () => act.card(1) }],
    [",  .", "a step of a card back or on; p plays it", { ",": () => act.player?.step(-1), ".": () => act.player?.step(1), p: () => act.player?.toggle() }],
    ["/", "edit the sentence", { "/": () => act.edit() }],
    ["=", "compare with another text or model", { "=": () => act.compare() }],
    ["r", "continue differently", { r: () => act.again() }],
    ["t", "words or tokens", { t: () => act.tokens() }],
    ["n", "hide or show the explanations", { n: () => act.notes() }],
    ["x", "pass it on: a picture, a link, a file", { x: () => act.share() }],
    ["y", "the same in Python", { y: () => act.snippet() }],
    ["s", "save as a file", { s: () => act.save() }],
    ["d", "light or dark", { d: () => act.theme() }],
    ["Esc", "back", { Escape: () => act.back() }],
    ["?", "this list", { "?": () => act.help() }],
  ];
  const actions = Object.assign({}, ...table.map((row) => row[2]));
  page.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || page.querySelector("dialog[open]")) return;
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (typing && event.key !== "Escape") return;
    const vertical = event.key === "ArrowUp" || event.key === "ArrowDown";
    if (event.key.startsWith("Page") && !page.querySelector(".lesson")) return;
    if (!(event.key in actions) || (vertical && !page.querySelector(".door[aria-expanded=true]"))) return;
    event.preventDefault();
    actions[event.key]();
  });
  const help = page.querySelector("dialog.help");
  fill(
    help,
    h("h2", {}, "Keys"),
    h("dl", {}, table.flatMap(([key, does]) => [h("dt", {}, key), h("dd", {}, does)])),
    h("form", { method: "dialog" }, h("button", { class: "small" }, "close")),
  );
}
