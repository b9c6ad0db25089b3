// The widget in a notebook: a frame with the page, and the wire between it and the kernel.
export default {
  render({ model, el }) {
    const frame = document.createElement("iframe");
    frame.title = "limelight";
    frame.sandbox = "allow-scripts allow-forms allow-downloads";
    frame.style.cssText = "border: 0; width: 100%; height: 100%";
    frame.srcdoc = model.get("page");
    const box = document.createElement("div"); // the notebook styles `el` itself
    box.style.cssText = `height: ${model.get("height")}px; resize: vertical; overflow: hidden`;
    box.append(frame);
    el.append(box);

    const asked = ({ source, data }) => source === frame.contentWindow && model.send(data);
    const answered = (message, buffers) => {
      const bytes = buffers[0] && new Uint8Array(buffers[0].buffer ?? buffers[0], buffers[0].byteOffset ?? 0, buffers[0].byteLength);
      frame.contentWindow?.postMessage({ ...message, bytes: bytes?.slice() }, "*");
    };
    addEventListener("message", asked);
    model.on("msg:custom", answered);
    return () => {
      removeEventListener("message", asked);
      model.off("msg:custom", answered);
    };
  },
};
