// A page that was opened from a disk may not start workers. There, the site's search runs in a frame instead.
if (location.protocol === "file:")
  window.Worker = class {
    constructor(script) {
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.documentElement.append(this.frame)
      this.inside = this.frame.contentWindow
      this.inside.postMessage = (data) => setTimeout(() => this.onmessage?.({ data: structuredClone(data) }))
      const element = this.inside.document.createElement("script")
      element.src = script
      this.ready = new Promise((resolve) => element.addEventListener("load", resolve))
      element.addEventListener("error", (event) => this.onerror?.(event))
      this.inside.document.documentElement.append(element)
    }

    postMessage(data) {
      this.ready.then(() => this.inside.onmessage?.({ data: structuredClone(data) }))
    }

    terminate() {
      this.frame.remove()
    }
  }
