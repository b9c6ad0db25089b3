// A lesson: some of the cards, in an order of one's own, as slides with large letters. It stands in the address, so that
// a link gives the sentence, the model and the cards.
import { fill, h } from "./dom.js";

// The cards of the lesson that the address names, of those that there are.
export const slides = (state, cards) => (state.lesson ?? "").split(",").map((name) => cards.find((card) => card.name === name)).filter(Boolean);

// The bar below the slide. cards: all that there are. act: { lesson(names | null), card(by), door(name), link() }.
export function lesson(element, state, cards, act) {
  if (state.lesson === null) return fill(element);
  const shown = slides(state, cards);
  const at = shown.findIndex((card) => card.name === state.door);
  const names = shown.map((card) => card.name);
  const copied = h("span", { class: "faint", role: "status" });
  const toggle = (name) => act.lesson(names.includes(name) ? names.filter((one) => one !== name) : [...names, name]);
  fill(
    element,
    h("button", { class: "small", "aria-label": "the slide before", title: "key: Page Up", onclick: () => act.card(-1) }, "◂ back"),
    h("span", { class: "slide-title", role: "status" }, !shown.length ? "No card is chosen" : at < 0 ? `The sentence, and ${shown.length} card${shown.length > 1 ? "s" : ""} to come` : `${at + 1} of ${shown.length} · ${shown[at].title}`),
    h("button", { class: "small", "aria-label": "the next slide", title: "key: Page Down", onclick: () => act.card(1) }, "next ▸"),
    h("details", { class: "plan", open: element.querySelector(".plan")?.open },
      h("summary", {}, "plan"),
      h("p", { class: "note" }, "Choose the cards in the order in which they are shown. The link holds them, the sentence and the model."),
      h("div", { class: "off" }, cards.map((card) => h("button", { class: "chip", "aria-pressed": names.includes(card.name) ? "true" : "false", onclick: () => toggle(card.name) }, names.includes(card.name) && `${names.indexOf(card.name) + 1}. `, card.title))),
      h("p", {}, h("button", { class: "small", onclick: async () => ((await navigator.clipboard?.writeText(act.link())), (copied.textContent = "copied")) }, "copy the link"), " ", copied)),
    h("button", { class: "small", title: "key: Esc", onclick: () => act.lesson(null) }, "leave"),
  );
}
