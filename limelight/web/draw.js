// Canvases as sharp as the screen, in the page's own colours.

export function colours(element) {
  const probe = element.appendChild(document.createElement("span")); // resolves what a variable means in this theme
  const of = (name) => (probe.style.setProperty("color", `var(--${name})`), getComputedStyle(probe).color);
  const found = Object.fromEntries(["ink", "grey", "line", "paper", "raised", "lowered", "looks"].map((name) => [name, of(name)]));
  found.sans = getComputedStyle(probe).fontFamily;
  probe.remove();
  return found;
}

// A cleared context of width × height CSS pixels.
export function sheet(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [across, down] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
    canvas.style.setProperty("width", `${width}px`);
    canvas.style.setProperty("height", `${height}px`);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// The strongest links [source, target, weight] of a matrix that together carry a share of all there is, strongest
// first; at most `each` per word. both: whether words look at what follows them, too.
export function strongest(matrix, n, share, each = 8, both = false) {
  const links = [];
  let total = 0;
  for (let source = 0; source < n; source++) {
    const row = [];
    for (let target = 0; target < (both ? n : source); target++) {
      if (target === source) continue;
      const weight = matrix[source * n + target];
      total += weight;
      if (weight > 0.005) row.push([source, target, weight]);
    }
    links.push(...row.sort((a, b) => b[2] - a[2]).slice(0, each));
  }
  links.sort((a, b) => b[2] - a[2]);
  let carried = 0;
  const end = links.findIndex((link) => (carried += link[2]) >= share * total);
  return end < 0 ? links : links.slice(0, end + 1);
}

export function cut(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end)}…`;
}
