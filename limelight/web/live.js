// Where the page's data comes from: the server that sent it.

let opened = null; // what this page asks of: another window may open another model

async function post(path, body, signal) {
  let answer;
  try {
    answer = await fetch(`/api/${path}${opened ? `?model=${encodeURIComponent(opened)}` : ""}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("limelight does not answer: it was stopped in its terminal; start it again and reload this page");
  }
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

const json = async (path, body, signal) => (await post(path, body, signal)).json();

// Calls `each` with every line of JSON as it comes.
async function lines(path, body, signal, each) {
  const answer = await post(path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const complete = rest.split("\n");
    rest = complete.pop();
    for (const line of complete.map((text) => JSON.parse(text))) {
      if (line.error) throw new Error(line.error);
      each(line);
    }
  }
}

export function live() {
  return {
    live: true,

    async models(signal) {
      const answer = await fetch("/api/models", { signal });
      return answer.json();
    },

    async open(name, progress, signal) {
      let model;
      opened = null;
      await lines("open", { name }, signal, (line) => (line.model ? (model = line.model) : progress(line)));
      opened = model.name;
      return model;
    },

    words: (text, signal) => json("words", text, signal),

    next: (text, word, settings, signal) => json("next", { ...text, word, ...settings }, signal),

    // check: whether the answer is checked too, which may take longer than the answer. progress: called with how far it
    // is, and for a long text with an estimate, { estimate }.
    async importance(text, word, foil, method, check, progress, signal) {
      let found;
      const body = { ...text, word, foil, check, ...(method ? { method } : {}) };
      await lines("importance", body, signal, (line) => (line.importance ? (found = line.importance) : progress(line)));
      return found;
    },

    // each: called with each token as it is written, { piece, likely, chosen, finish }; of a translation with all of it.
    go_on: (given, settings, each, signal) => lines("continue", { given, ...settings }, signal, each),

    // A conversation: turns are [{ role, content }]. each: as in go_on.
    answer: (turns, settings, each, signal) => lines("answer", { messages: turns, ...settings }, signal, each),

    async turns(turns, signal) {
      return (await json("turns", { messages: turns }, signal)).turns;
    },

    async light(turns, signal) {
      let found;
      await lines("light", { messages: turns }, signal, (line) => line.found && (found = line.found));
      return found;
    },

    async cameFrom(turns, of, part, progress, signal) {
      let found;
      await lines("came_from", { messages: turns, of, part }, signal, (line) => (line.found ? (found = line.found) : progress(line)));
      return found;
    },

    async everyImportance(text, signal) {
      let found;
      await lines("every_importance", text, signal, (line) => line.found && (found = line.found.losses));
      return found;
    },

    async translation(text, progress, signal) {
      let found;
      await lines("translation", text, signal, (line) => (line.translation ? (found = line.translation) : progress(line)));
      return found;
    },

    // All heads of a layer in one array, [H, N, N], or one head, [N, N].
    async attention(text, layer, head, signal) {
      const answer = await post("attention", { ...text, layer, head }, signal);
      return new Float32Array(await answer.arrayBuffer()); // little-endian, as every browser's machine is
    },

    async linking(text, source, target, signal) {
      return (await json("linking", { ...text, source, target }, signal)).weights;
    },

    // What the cards draw. toward: places of words that a head may look back at.
    async spotlights(text, toward, signal) {
      return (await json("spotlights", { ...text, toward }, signal)).heads;
    },

    network: (given, signal) => json("network", { given }, signal),

    // What the newest race on this machine measured, or null.
    race: (signal) => json("race", {}, signal),

    guesses: (text, positions, signal) => json("guesses", { text, positions }, signal),

    roles: (signal) => json("roles", {}, signal),

    async lens(text, word, progress, signal) {
      let found;
      await lines("lens", { ...text, word }, signal, (line) => (line.lens ? (found = line.lens) : progress(line)));
      return found;
    },

    steer: (asked, signal) => json("steer", asked, signal),

    async inside(asked, progress, signal) {
      let found;
      await lines("inside", asked, signal, (line) => (line.inside ? (found = line.inside) : progress(line)));
      return found;
    },

    steps: (text, word, layer, head, other, signal) => json("steps", { ...text, word, layer, head, other }, signal),

    // progress: also called with { first }, the answer before it is checked.
    async whatIf(change, progress, signal) {
      let found;
      await lines("what_if", change, signal, (line) => (line.what_if ? progress({ first: (found = line.what_if) }) : progress(line)));
      return found;
    },

    async save(text, word, foil, method, settings, title) {
      const answer = await post("save", { ...text, word, foil, ...settings, title, ...(method ? { method } : {}) });
      return answer.blob();
    },
  };
}
