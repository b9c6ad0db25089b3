// Word after word being made: what was likely in a place, one of it chosen, and again.
import { fill, h, percent, visible } from "./dom.js";
import { extend } from "./sentence.js";

const SLOW = 420; // milliseconds for each of the first words, so that one can see how it is done
const QUICK = 45; // for all that follow
const FIRST = 5; // words that are shown slowly

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Shows a text growing behind the sentence, one token after another.
// put: called with each piece when it is its turn. parts: { sentence, paper }. now: whose shown.tail grows.
export function writing(parts, now, of, put) {
  const queue = [];
  let shown = 0;
  let running = null;
  let ended = false; // nothing more comes
  const box = h("div", { class: "choices", "aria-hidden": "true" });
  const show = (step) => {
    put(step.piece);
    extend(parts.sentence, now.shown.tail);
  };

  async function run() {
    while (!ended || queue.length) {
      if (of.aborted) break;
      if (!queue.length) {
        await wait(20);
        continue;
      }
      const step = queue.shift();
      const slow = shown++ < FIRST;
      if (slow && step.likely?.length > 1 && !still()) {
        choices(box, step, false);
        if (!box.isConnected) parts.paper.append(box);
        stand(box, parts);
        await wait(SLOW * 0.6);
        if (of.aborted) break;
        choices(box, step, true);
        await wait(SLOW * 0.4);
      } else {
        box.remove();
        if (!still()) await wait(QUICK);
      }
      if (of.aborted) break;
      show(step);
    }
    box.remove();
  }

  return {
    push(step) {
      queue.push(step);
      running ??= run();
    },
    // steps: all of them, for the case that they were known before.
    async end(steps) {
      ended = true;
      if (running) await running;
      else steps.forEach(show);
      of.throwIfAborted();
    },
  };
}

const wait = (time) => new Promise((done) => setTimeout(done, time));

function choices(box, { likely, chosen }, decided) {
  const most = likely[0][1];
  fill(
    box,
    likely.map(([token, share], i) =>
      h("div", { class: `choice ${decided && i === chosen ? "taken" : ""}` }, h("span", { class: "share", style: { "--w": share / most } }), h("span", { class: "token" }, visible(token)), h("span", { class: "number" }, percent(share)))),
    chosen === null && decided && h("div", { class: "choice taken" }, h("span", { class: "token" }, "another"), h("span", { class: "number" })),
  );
}

// Puts the box where the text ends.
function stand(box, { sentence, paper }) {
  const last = sentence.lastElementChild?.lastChild ?? sentence;
  const range = document.createRange();
  range.selectNodeContents(last);
  const rects = range.getClientRects();
  const end = rects[rects.length - 1] ?? sentence.getBoundingClientRect();
  const home = paper.getBoundingClientRect();
  const left = Math.min(end.right - home.left + 6, home.width - box.offsetWidth - 4);
  box.style.setProperty("left", `${Math.max(0, left)}px`);
  box.style.setProperty("top", `${end.bottom - home.top + 4}px`);
}
