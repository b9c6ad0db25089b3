// Work that is under way: named, so that asking anew ends what was asked before; and answers that are remembered.

// failed: called with the sentence of an error; what was abandoned ends in silence.
export function work(state, failed) {
  const pending = {};
  const known = new Map(); // answers by question, so that coming back waits for nothing

  return {
    signal(name) {
      pending[name]?.abort();
      pending[name] = new AbortController();
      return pending[name].signal;
    },

    abandon: () => Object.values(pending).forEach((one) => one.abort()),

    async attempt(work) {
      try {
        return await work();
      } catch (error) {
        if (error.name !== "AbortError") failed(error.message);
      }
    },

    async remembered(key, find) {
      const name = JSON.stringify([state.model, ...key]);
      if (!known.has(name)) {
        const found = await find();
        if (known.size > 300) known.clear();
        known.set(name, found);
      }
      return known.get(name);
    },
  };
}
