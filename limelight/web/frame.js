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
      part("modes", "span", { class: "modes", role: "group", "aria-label": "What to do with a text", hidden: true },
        h("button", { value: "", "aria-pressed": "true" }, "Continue my text"),
        h("button", { value: "ask", "aria-pressed": "false" }, "Ask it")),
      h("span", { class: "right" },
        part("helpButton", "button", { class: "icon", title: "keys (?)", "aria-label": "keys" }, "?", h("span", { class: "wide" }, " keys")),
        part("saveButton", "button", { class: "icon", title: "save as one file that opens in any browser (s)", "aria-label": "save", hidden: !source.live }, "⤓", h("span", { class: "wide" }, " save")),
        part("themeButton", "button", { class: "icon", title: "light or dark (d)", "aria-label": "light or dark" }, "◐"))),
    h("main", {},
      part("composer", "form", { class: "composer", hidden: !source.live },
        part("box", "textarea", { class: "box", rows: 1, dir: "auto", "aria-label": "Your text", spellcheck: "false", maxlength: 100000, autocomplete: "off" }),
        h("button", { class: "go", title: "Enter" }, part("go", "span", { class: "wide" }, "continue"), h("span", { class: "narrow", "aria-hidden": "true" }, "→"))),
      part("examples", "p", { class: "examples", hidden: !source.live }),
      part("offer", "p", { class: "offer", hidden: true }, "That is a question. ", part("askIt", "button", { class: "plain" }, "Ask it, and get an answer"), " – below is how the text would go on."),
      part("talk", "section", { class: "talk", "aria-label": "The conversation" }),
      h("div", { class: "stage" },
        part("ask", "h1", { class: "ask" }),
        part("paper", "div", { class: "paper" },
          part("sentence", "div", { class: "sentence", role: "listbox", tabindex: 0, dir: "auto", "aria-label": "The sentence; arrow keys choose a word, Enter edits" })),
        h("div", { class: "under" },
          part("about", "span", { class: "about", role: "status" }),
          part("againButton", "button", { class: "small", title: "key: r", hidden: !source.live }, "write on differently"),
          part("tokensButton", "button", { class: "small", title: "key: t", "aria-pressed": "false" }, "tokens")),
        part("replies", "div", { class: "replies", "aria-live": "polite" }),
        part("how", "details", { class: "how" },
          h("summary", {}, "How was this measured?"),
          part("measured", "label", {}, "measured by ", part("methods", "select", { disabled: !source.live })),
          part("numbers", "div")),
        part("chips", "div", { class: "chips" }),
        part("beneath", "details", { class: "beneath" },
          h("summary", {}, "All that it could have said, and how words are drawn"),
          h("div", { class: "pair" },
            h("section", {},
              part("place", "h2"),
              part("likely", "div", { class: "likely" }),
              part("whynot", "form", { class: "whynot", hidden: !source.live }, h("label", {}, "why not ", h("input", { name: "foil", maxlength: 200, "aria-label": "another word", autocomplete: "off" }), " ?"), h("button", { class: "small" }, "ask"))),
            part("drawing", "section", {}, h("h2", {}, "How words are drawn"), part("sliders", "div")))))),
    part("doors", "nav", { class: "doors", "aria-label": "More views" }),
    part("room", "section", { class: "room", "aria-label": "The view that is open" }),
    part("help", "dialog", { "aria-label": "Keys" }),
  );
  return parts;
}
