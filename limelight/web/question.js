// The question on the screen, told from the state (what the address says) and from what is known by now. Nothing here
// changes anything; `app` is { state, now, source, … }, see app.js.

// Whether what was added is the translation of what was given.
export const translates = ({ now }) => Boolean(now.model?.translates);

// What an encoder does with the text, or null: { kind, beside, usual }, see views/encoded.py.
export const reads = ({ now }) => now.model?.reads ?? null;

// Whether the answer is of the whole text, and stands behind it like a word.
const ofAll = (app) => Boolean(reads(app)) && !["masked", "tags"].includes(reads(app).kind);

// Whether the visitor talks with the model, instead of having a text continued.
export const talks = ({ now, state, source }) => state.mode === "ask" && source.live && (!now.model || now.model.chats);

// Whether the text is a question to the model, which would rather have an answer than be explained.
export const offers = ({ now, state, source }) => source.live && state.mode === null && Boolean(now.model?.chats) && asks(state.text);

// The place of the word in question: if nobody chose one, the word that the model says next, behind what was given.
export function word(app) {
  const { state, now } = app;
  if (reads(app) && (state.word === null || ofAll(app))) return Math.max(0, Math.min(now.shown.asked ?? 0, now.shown.words.length - 1));
  if (state.word === null && !translates(app)) return now.given;
  return Math.max(0, Math.min(state.word ?? telling(now.shown.words), now.shown.words.length - 1));
}

export const tokens = (app) => app.state.tokens === 1 && !translates(app) && !reads(app);

// Whether all that was added is looked at.
const whole = (app) => !app.source.live || translates(app) || Boolean(reads(app)) || word(app) > app.now.given;

// Whether it is the text and the word that the model says next.
export const ahead = (app) => !whole(app) && word(app) === app.now.given;

export const text = (app) => ({ given: app.state.text, added: whole(app) ? app.now.added : "", tokens: tokens(app), ahead: ahead(app), ...(reads(app) ? { beside: beside(app) } : {}) });

// What an encoder reads besides the text.
export const beside = (app) => (reads(app)?.beside ? app.state.other ?? reads(app).usual : "");

export function words(app) {
  const { shown, given } = app.now;
  return whole(app) ? shown.words : shown.words.slice(0, ahead(app) ? given + 1 : given);
}

export const tail = (app) => (whole(app) ? app.now.shown.tail : app.now.tail);

// How words are drawn; a translation is searched for and not drawn.
export function settings(app) {
  if (translates(app) || reads(app)) return { temperature: 1, top_k: null, top_p: null, seed: 0 };
  const { temperature, k, p, seed } = app.state;
  return { temperature, top_k: k >= 50 ? null : k, top_p: p >= 1 ? null : p, seed };
}

// The head on the screen: the one chosen, or the one that looks hardest at the words that mattered.
export function head({ state, now }) {
  const telling = now.importance?.telling;
  const layer = Math.min(state.layer ?? telling?.layer ?? now.aligned ?? 0, Math.max(0, (now.model?.heads.length ?? 1) - 1));
  return { layer, head: Math.min(state.head ?? telling?.head ?? 0, (now.model?.heads[layer] ?? 1) - 1) };
}

// The doors that are open, by name: none, one, or two side by side.
export const opened = ({ state }) => [state.door, state.door && state.beside].filter(Boolean);

// All that the views draw.
export const view = (app) => ({
  ...app.now,
  ...head(app),
  words: app.now.shown.words,
  tail: app.now.shown.tail,
  word: word(app),
  foil: app.state.foil,
  chosen: app.state.layer,
  method: app.state.method,
  ahead: ahead(app),
  live: app.source.live,
  tokens: tokens(app),
  reads: reads(app),
  beside: beside(app),
  settings: settings(app),
});

export const title = ({ now }) => now.title?.split(/[,(]/)[0].trim() || "the model";

// The last word that is more than a mark.
const telling = (words) => Math.max(0, words.findLastIndex((one) => /[\p{L}\p{N}]/u.test(one.text)));

// A text that has not been cut into words yet.
export const plain = (text) => ({ words: [], tail: text });

// Whether a text is a question to somebody.
export const asks = (text) => /[?？؟]\s*$/.test(text);
