// The model led by a saved vector: what comes next and how the text goes on, as it is and with the vector added.
import { fill, h, note, percent, visible } from "./dom.js";
import { STEER, tabs } from "./inside.js";

const MOST = 4; // times that a vector is added

const SAYS = "A vector is the mean difference, inside the network, between texts that have something and texts that have not. It is added to what the model has of each word, so many times; below 0 it leads away. Too much of it, and the model only stammers. Outlined: how likely each word is without it.";

// data: { found { vectors, folder, vector, layer, rows [word, before, after], goes_on [before, after] } | null, strength }.
// act: { steer({ vector, strength }), inside(kind) }. The slider is made once, so that it is not replaced while it moves.
export function steer(element, data, act) {
  const { found, strength } = data;
  let told = element.querySelector(".steered");
  if (!told) {
    told = h("div", { class: "steered" }, h("p", { class: "waiting", role: "status" }, "Looking for vectors", h("progress")));
    fill(element, tabs(STEER, act), told);
  }
  if (!found) return told.setAttribute("aria-busy", "true");
  told.removeAttribute("aria-busy");
  if (!found.vectors.length) {
    const made = `vector = model.steering_vector([("I love it", "I hate it")], layer=20)\nvector.save("${found.folder}/good.safetensors")`;
    return fill(told, h("p", {}, `There is no vector for this model in the folder “${found.folder}”, where limelight was started. In Python one is made of a few pairs of texts:`), h("pre", {}, made), note(SAYS));
  }
  const before = element.querySelector(".strength");
  const form = before ?? h("div", { class: "strength tools" });
  if (!before) fill(element, tabs(STEER, act), form, told);
  if (form.dataset.of !== found.vectors.join("\n")) {
    form.dataset.of = found.vectors.join("\n");
    const shown = h("output", {}, times(strength));
    const range = h("input", {
      type: "range", min: -MOST, max: MOST, step: 0.25, value: strength, "aria-label": "how many times it is added",
      oninput: () => (shown.textContent = times(Number(range.value))),
      onchange: () => act.steer({ strength: Number(range.value) }),
    });
    const which = h("select", { "aria-label": "vector", onchange: () => act.steer({ vector: which.value }) }, found.vectors.map((name) => h("option", { value: name, selected: name === found.vector }, name)));
    fill(form, h("label", {}, "toward ", which), h("label", { class: "slider" }, h("span", {}, "strength"), range, shown));
  }
  const most = Math.max(...found.rows.flatMap(([, was, now]) => [was, now]), 1e-9);
  const row = ([word, was, now]) => h("tr", {},
    h("td", {}, visible(word)),
    h("td", { class: "bar" }, h("span", { class: "fill plain-fill", style: { "--w": now / most } }), h("span", { class: "was", style: { "--w": was / most } })),
    h("td", {}, percent(now)),
    h("td", { class: "faint" }, `was ${percent(was)}`));
  const goes = (name, text) => h("p", { class: "said" }, h("b", {}, `${name}: `), h("span", { dir: "auto" }, `…${text}`));
  fill(
    told,
    h("p", { class: "faint" }, `Added behind layer ${found.layer}, at every word.`),
    h("table", { class: "shares" }, h("tbody", {}, found.rows.map(row))),
    goes("As it is", found.goes_on[0]),
    goes("Steered", found.goes_on[1]),
    note(SAYS),
  );
}

const times = (value) => (value === 0 ? "not at all" : `${value < 0 ? "−" : ""}${Math.abs(value)} ×`);
