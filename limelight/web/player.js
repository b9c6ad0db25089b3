// What is stepped through: forward and back by key and button, or played.
import { fill, h } from "./dom.js";

const PACE = 1100; // milliseconds that a step stands while it is played

// count: how many steps there are. show(i): draws one. keep: { at } is where it stands, kept by the caller.
export function player(element, act, count, show, keep) {
  let timer = null;
  const place = h("span", { class: "faint", role: "status" });
  const play = h("button", { class: "small", title: "key: p", onclick: () => toggle() }, "▶ play");
  const go = (i) => {
    keep.at = ((i % count) + count) % count;
    place.textContent = `${keep.at + 1} of ${count}`;
    show(keep.at);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ play";
  };
  function toggle() {
    if (timer) return stop();
    play.textContent = "❚❚ pause";
    go(keep.at + 1);
    timer = setInterval(() => (element.isConnected ? go(keep.at + 1) : stop()), PACE);
  }
  const step = (by) => (stop(), go(keep.at + by));
  act.player = { step, toggle };
  fill(element, h("button", { class: "small", title: "key: ,", "aria-label": "a step back", onclick: () => step(-1) }, "◂"), play, h("button", { class: "small", title: "key: .", "aria-label": "a step on", onclick: () => step(1) }, "▸"), place);
  go(Math.min(keep.at, count - 1));
}
