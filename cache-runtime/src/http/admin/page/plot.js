// Drawing: numbers in, SVG out. Knows nothing of caches.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  return element;
}

// A line without axes. `slots` is how many values it has room for; they enter on the right.
class Spark {
  constructor(slots) {
    this.slots = slots;
    this.element = svg("svg", { class: "spark", viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.under = this.element.appendChild(svg("path", { class: "under" }));
    this.line = this.element.appendChild(svg("path", {}));
  }

  // From zero, so that heights can be compared; `top` where the scale is known.
  draw(values, top) {
    const last = values.slice(-this.slots);
    const high = top || Math.max(...last, 0) || 1;
    const step = 100 / (this.slots - 1);
    const from = 100 - (last.length - 1) * step;
    let line = "";
    last.forEach((value, i) => {
      line += `${i ? "L" : "M"}${(from + i * step).toFixed(2)} ${(97 - 92 * Math.min(value / high, 1)).toFixed(2)}`;
    });
    const drawn = last.length > 1;
    this.line.setAttribute("d", drawn ? line : "");
    this.under.setAttribute("d", drawn ? `${line}L100 100L${from.toFixed(2)} 100Z` : "");
  }
}

// The next round number that is not below: 1, 2, 2.5 or 5 times a power of ten.
function roundUp(value) {
  if (value <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= value * 0.999);
}

// Areas on top of each other over the last `slots` moments, with an axis and a cross-hair.
class Stack {
  constructor(holder, series, slots, format) {
    Object.assign(this, { holder, series, slots, format, moments: [], top: 4, highest: 0 });
    this.picture = holder.appendChild(svg("svg", { role: "img" }));
    this.grid = this.picture.appendChild(svg("g", {}));
    this.areas = series.map((one) => this.picture.appendChild(svg("path", { class: `area ${one.class}` })));
    this.cross = this.picture.appendChild(svg("line", { class: "cross", visibility: "hidden" }));
    this.tip = holder.appendChild(document.createElement("div"));
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.tip.setAttribute("aria-hidden", "true");
    new ResizeObserver(() => this.draw()).observe(holder);
    holder.addEventListener("pointermove", (event) => this.point(event.clientX - holder.getBoundingClientRect().left));
    holder.addEventListener("pointerleave", () => this.point(null));
  }

  // `values` in the order of the series; null where nothing is known.
  push(values) {
    this.moments.push(values);
    if (this.moments.length > this.slots) this.moments.shift();
    this.draw();
  }

  x(slot) {
    return this.left + (slot / (this.slots - 1)) * (this.width - this.left - this.right);
  }

  y(value) {
    return this.foot - (value / this.top) * (this.foot - this.head);
  }

  draw() {
    this.width = this.holder.clientWidth;
    this.height = this.picture.clientHeight;
    if (!this.width || !this.height) return;
    Object.assign(this, { left: 52, right: 16, head: 10, foot: this.height - 22 });
    this.picture.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    const sums = this.moments.map((values) => (values ? values.reduce((a, b) => a + b, 0) : 0));
    this.highest = Math.max(...sums, 0);
    this.top = roundUp(this.highest * 1.05);
    this.axes();
    this.areas.forEach((area, index) => area.setAttribute("d", this.outline(index)));
    if (this.at !== undefined && this.at !== null) this.point(this.at);
  }

  axes() {
    const parts = [];
    for (let i = 0; i <= 4; i += 1) {
      const value = (this.top / 4) * i;
      const y = Math.round(this.y(value)) + 0.5;
      parts.push(svg("line", { class: "grid", x1: this.left, x2: this.width - this.right, y1: y, y2: y }));
      if (i % 2 === 0) {
        const label = svg("text", { x: this.left - 8, y: y + 4, "text-anchor": "end" });
        label.textContent = this.format(value);
        parts.push(label);
      }
    }
    for (const [ago, anchor] of [[this.slots - 1, "start"], [(this.slots - 1) / 2, "middle"], [0, "end"]]) {
      const label = svg("text", { x: this.x(this.slots - 1 - ago), y: this.height - 6, "text-anchor": anchor });
      label.textContent = ago ? `${Math.round(ago / 60)} min ago` : "now";
      parts.push(label);
    }
    this.grid.replaceChildren(...parts);
  }

  // Runs of known moments, each from left to right along the upper edge and back along the lower one.
  outline(index) {
    const from = this.slots - this.moments.length;
    const sum = (values, upTo) => values.slice(0, upTo).reduce((a, b) => a + b, 0);
    let path = "";
    let run = [];
    const close = () => {
      if (run.length > 1) {
        const edge = (upTo) => run.map(([slot, values]) => `${this.x(slot).toFixed(1)} ${this.y(sum(values, upTo)).toFixed(1)}`);
        path += `M${edge(index + 1).join("L")}L${edge(index).reverse().join("L")}Z`;
      }
      run = [];
    };
    this.moments.forEach((values, i) => (values ? run.push([from + i, values]) : close()));
    close();
    return path;
  }

  // Shows the values at a place; at `null` none.
  point(at) {
    this.at = at;
    const from = this.slots - this.moments.length;
    const width = this.width - this.left - this.right;
    const slot = at === null ? -1 : Math.round(((at - this.left) / width) * (this.slots - 1));
    const values = this.moments[slot - from];
    this.tip.hidden = !values;
    this.cross.setAttribute("visibility", values ? "visible" : "hidden");
    if (!values) return;
    const x = Math.round(this.x(slot)) + 0.5;
    for (const [key, value] of [["x1", x], ["x2", x], ["y1", this.head], ["y2", this.foot]]) this.cross.setAttribute(key, value);
    const rows = this.series.map((one, i) => [one.name, this.format(values[i])]).reverse();
    const ago = this.slots - 1 - slot;
    this.tip.replaceChildren(...[[ago ? `${ago} s ago` : "now", ""], ...rows].map(([name, text]) => {
      const row = document.createElement("p");
      row.append(name, Object.assign(document.createElement("b"), { textContent: text }));
      return row;
    }));
    const room = this.tip.offsetWidth + 12;
    this.tip.style.left = `${x + room > this.width ? x - room : x + 12}px`;
  }
}
