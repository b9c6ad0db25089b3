// What all cards share: where each stands, and how one is made.
import { fill, h } from "./dom.js";
import { player } from "./player.js";

export const kept = {}; // where each card stands, by its name

export const waiting = (element, what) => fill(element, h("p", { class: "waiting", role: "status" }, what, h("progress")));

// A card: what it says in plain sentences, the drawing, the player, and formulas for those who want them.
export function card(element, { name, says, formulas }, act, count, show) {
  const told = h("p", { class: "told", role: "status" });
  const drawing = h("div", { class: "drawing" });
  const controls = h("div", { class: "player" });
  fill(element, h("section", { class: "card" }, h("p", { class: "lead" }, says), drawing, told, controls, formulas && h("details", { class: "how" }, h("summary", {}, "With formulas"), formulas.map((one) => h("p", {}, one)))));
  kept[name] ??= { at: 0 };
  player(controls, act, count, (i) => show(i, drawing, told), kept[name]);
  return { drawing, told, controls };
}

export const looks = (model) => !model.translates && model.heads.length > 0;
export const attends = (model) => looks(model) && !model.reads;

export const formula = "softmax(q · k / √d): each word asks with a query q; each earlier word answers with a key k; their products, made to sum to 1, are the shares. What is passed on is the sum of the values v of all words, by those shares.";
