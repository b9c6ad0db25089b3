// In a notebook the page has no server: what it would ask one goes to the frame's parent, and from there to the kernel.

// Takes the place of fetch, and of an address that a frame does not have.
export function wire() {
  const own = crypto.getRandomValues(new Uint32Array(2)).join("."); // a widget shown twice has two frames
  const waiting = new Map(); // what each request does with a part of its answer
  let last = 0;

  addEventListener("message", ({ source, data }) => {
    if (source === parent) waiting.get(data.id)?.(data);
  });

  globalThis.fetch = (path, { body = null, signal } = {}) =>
    new Promise((resolve, reject) => {
      const id = `${own}.${last++}`;
      let feed;
      const end = (error) => {
        waiting.delete(id);
        if (error) (reject(error), feed?.error(error));
        else feed.close();
      };
      waiting.set(id, ({ status, bytes, done }) => {
        if (status) resolve(new Response(new ReadableStream({ start: (controller) => (feed = controller) }), { status }));
        if (bytes) feed.enqueue(new Uint8Array(bytes));
        if (done) end();
      });
      const leave = () => {
        if (!waiting.has(id)) return;
        parent.postMessage({ id, gone: true }, "*");
        end(new DOMException("this answer is no longer needed", "AbortError"));
      };
      signal?.addEventListener("abort", leave);
      parent.postMessage({ id, path, body }, "*");
      if (signal?.aborted) leave();
    });

  history.pushState = history.replaceState = () => {};
}
