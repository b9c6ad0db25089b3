// The page's parts, empty.
import { fill, h } from "./dom.js";

export function frame(root, source) {
  const parts = {};
  const part = (name, tag, attributes = {}, ...children) => (parts[name] = h(tag, attributes, ...children));
  fill(
    root,
    h("header", {},
      h("span", { class: "brand" }, "limelight"),
      part("models", "select", { "aria-label": "Model", disabled: !source.live }),
      h("span", { class: "right" },
        part("helpButton", "button", { class: "icon", title: "keys (?)", "aria-label": "keys" }, "?", h("span", { class: "wide" }, " keys")),
        part("saveButton", "button", { class: "icon", title: "save as one file that opens in any browser (s)", "aria-label": "save", hidden: !source.live }, "⤓", h("span", { class: "wide" }, " save")),
        part("themeButton", "button", { class: "icon", title: "light or dark (d)", "aria-label": "light or dark" }, "◐"))),
    h("main", {},
      h("div", { class: "stage" },
        part("ask", "h1", { class: "ask" }),
        part("paper", "div", { class: "paper" },
          part("sentence", "div", { class: "sentence", role: "listbox", tabindex: 0, dir: "auto", "aria-label": "The sentence; arrow keys choose a word, Enter edits" }),
          part("editor", "textarea", { class: "editor", dir: "auto", "aria-label": "Edit the sentence", spellcheck: "false", maxlength: 100000 })),
        h("div", { class: "under" },
          part("about", "span", { class: "about", role: "status" }),
          part("tokensButton", "button", { class: "small", title: "key: t", "aria-pressed": "false" }, "tokens"),
          part("editButton", "button", { class: "small", title: "key: /", hidden: !source.live }, "edit the sentence"))),
      part("replies", "div", { class: "replies", "aria-live": "polite" }),
      part("how", "details", { class: "how" },
        h("summary", {}, "How was this measured?"),
        part("measured", "label", {}, "measured by ", part("methods", "select", { disabled: !source.live })),
        part("numbers", "div")),
      part("beneath", "div", { class: "beneath" },
        h("section", {},
          part("place", "h2"),
          part("likely", "div", { class: "likely" }),
          part("whynot", "form", { class: "whynot", hidden: !source.live }, h("label", {}, "why not ", h("input", { name: "foil", maxlength: 200, "aria-label": "another word", autocomplete: "off" }), " ?"), h("button", { class: "small" }, "ask"))),
        part("drawing", "section", {}, h("h2", {}, "How words are drawn"), part("sliders", "div")))),
    part("doors", "nav", { class: "doors", "aria-label": "More views" }),
    part("room", "main", { class: "room" }),
    part("help", "dialog", { "aria-label": "Keys" }),
  );
  return parts;
}
