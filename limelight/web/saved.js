// Where a saved file's data comes from: the file itself.

import { FIRST } from "./state.js";

const refuse = (what) => {
  throw new Error(`${what}; open the sentence in limelight for more`);
};

// data: what limelight.views.saved put there. What it does not hold is refused in a sentence.
export function saved(data) {
  const common = {
    live: false,
    state: { ...FIRST, ...data.state },
    models: async () => ({ models: [{ name: data.model.name, title: data.model.name, here: true }], first: data.model.name }),
    open: async () => data.model,
    words: async () => data.words,
    steer: async () => refuse("This file does not hold what vectors do"),
    inside: async () => refuse("This file does not hold what parts of the network do"),
    whatIf: async () => refuse("A saved file cannot change anything"),
    next: async (text, word) => data.next[word] ?? refuse("This file does not hold what could have stood here"),
  };
  return { ...common, ...(data.model.translates ? translation(data) : text(data)) };
}

// A source text and its translation.
function translation(data) {
  return {
    added: data.added,
    importance: async (text, word) => data.answers[word] ?? refuse("The model read this word and did not say it"),
    translation: async () => data.translation,
  };
}

// A text under a model that continues texts.
function text(data) {
  const matrices = new Map();

  function layer(number) {
    if (!data.attention[number]) refuse(`This file does not hold the attention of layer ${number}`);
    if (!matrices.has(number)) {
      const bytes = Uint8Array.from(atob(data.attention[number]), (letter) => letter.charCodeAt(0));
      matrices.set(number, new Float32Array(bytes.buffer));
    }
    return matrices.get(number);
  }

  return {
    cards: data.cards ? ["spotlight", "network", "spotlights", "recurrent", "next-word"] : ["recurrent"], // what asks the model nothing
    spotlights: async () => data.cards.spotlights,
    network: async () => data.cards.network,
    race: async () => null,
    importance: async (text, word) => (word === data.importance.word ? data.importance : refuse(`This file answers for “${data.words.words[data.importance.word].text}” only`)),
    attention: async (text, number) => layer(number), // of all heads
    async linking(text, source, target) {
      const n = data.words.words.length;
      return data.model.heads.map((heads, number) => Array.from({ length: heads }, (_, head) => layer(number)[head * n * n + source * n + target]));
    },
    roles: async () => data.roles ?? false,
    async lens(text, word) {
      return word === data.importance.word ? data.lens : refuse("This file holds the layers for one word only");
    },
    async steps(text, word, layer, head) {
      const held = data.steps;
      if (word === data.importance.word - 1 && layer === held.layer && head === held.head) return held;
      return refuse(`This file holds the steps of head ${held.head} of layer ${held.layer} only`);
    },
  };
}
