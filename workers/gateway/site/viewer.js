// One picture, large: boxes and masks that can be switched, a threshold that filters at once, before and after.

import { picture } from "./api.js";

let palette = []; // the model's, as in overlays and masks
const colour = (id) => palette[id] ?? `hsl(${Math.round((id * 137.508 + 25) % 360)} 75% 55%)`;
const make = (tag, more = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), more);
  element.append(...inside);
  return element;
};
const drawn = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

// COCO's compressed run lengths (pycocotools' rleFrString): runs go down the columns, the first is of zeros.
export function decodeRuns(text) {
  const runs = [];
  for (let at = 0; at < text.length;) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const code = text.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
      more = (code & 32) !== 0;
      if (!more && code & 16) value |= -1 << shift;
    }
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

function paintMasks(canvas, instances, chosen) {
  const [height, width] = instances[0].mask.size;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (const one of chosen) {
    const [red, green, blue] = rgb(colour(one.class_id));
    let at = 0, inside = false;
    for (const run of decodeRuns(one.mask.counts)) {
      if (inside) {
        for (let index = at; index < at + run; index++) {
          const to = 4 * ((index % height) * width + Math.floor(index / height));
          pixels.data[to] = red; pixels.data[to + 1] = green; pixels.data[to + 2] = blue; pixels.data[to + 3] = 120;
        }
      }
      at += run;
      inside = !inside;
    }
  }
  context.putImageData(pixels, 0, 0);
}

function rgb(css) {
  const context = make("canvas", { width: 1, height: 1 }).getContext("2d");
  context.fillStyle = css;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}

function paintBoxes(svg, line, chosen, { boxes, labels }) {
  svg.replaceChildren();
  if (!boxes) return;
  const unit = line.width / (svg.clientWidth || 900); // of the picture in a pixel of the screen
  for (const one of chosen) {
    const [left, top, right, bottom] = one.box;
    svg.append(drawn("rect", { x: left, y: top, width: right - left, height: bottom - top, fill: "none",
      stroke: colour(one.class_id), "stroke-width": 2 * unit }));
  }
  const taken = [];
  for (const one of labels ? [...chosen].sort((a, b) => b.score - a.score) : []) {
    const said = `${one.label} ${Math.round(100 * one.score)}%`;
    const high = 20 * unit, wide = (said.length * 7.7 + 10) * unit;
    const [left, top, , bottom] = one.box;
    const x = Math.max(0, Math.min(left, line.width - wide));
    const isFree = (y) => y >= 0 && y + high <= line.height
      && !taken.some((other) => x < other.x + other.wide && other.x < x + wide && y < other.y + high && other.y < y + high);
    const y = [top - high, top, bottom - high, bottom].find(isFree);
    if (y === undefined) continue; // a label over another helps nobody; the list beside has it
    taken.push({ x, y, wide });
    svg.append(drawn("rect", { x, y, width: wide, height: high, fill: "rgb(0 0 0 / .75)" }));
    const text = drawn("text", { x: x + 5 * unit, y: y + 15 * unit, fill: "#fff" });
    text.style.fontSize = `${13 * unit}px`; // a style attribute is forbidden by the page's policy
    text.textContent = said;
    svg.append(text);
  }
}

export class Viewer {
  constructor(dialog) {
    this.dialog = dialog;
    this.refs = Object.fromEntries([...dialog.querySelectorAll("[data-ref]")].map((one) => [one.dataset.ref, one]));
    this.title = dialog.querySelector("h2");
    this.options = { boxes: true, masks: true, labels: true, threshold: null };
    this.refs.close.onclick = () => dialog.close();
    this.refs.previous.onclick = () => this.step(-1);
    this.refs.next.onclick = () => this.step(1);
    dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input[type=range], select")) return;
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
  }

  open(job, lines, index, colours) {
    palette = colours;
    Object.assign(this, { job, lines, index });
    if (!this.dialog.open) this.dialog.showModal();
    this.show();
  }

  step(by) {
    const next = this.index + by;
    if (next < 0 || next >= this.lines.length) return;
    this.index = next;
    this.show();
  }

  async show() {
    const line = this.line = this.lines[this.index];
    const { stage, side, place, previous, next } = this.refs;
    this.resized?.disconnect();
    this.title.textContent = line.image;
    place.textContent = `${this.index + 1} of ${this.lines.length}`;
    previous.disabled = this.index === 0;
    next.disabled = this.index === this.lines.length - 1;
    stage.replaceChildren();
    side.replaceChildren();
    if (line.status !== "ok") {
      side.append(make("h3", { textContent: "No result" }), make("p", { textContent: line.error?.message ?? "" }),
        make("p", { className: "quiet", textContent: line.error?.code ?? "" }));
      const sent = make("img", { className: "whole", alt: `${line.image} as far as it can be shown` });
      sent.onload = () => this.line === line && stage.replaceChildren(sent);
      const none = () => this.line === line && stage.replaceChildren(make("p", { textContent: "There is no picture to show." }));
      sent.onerror = none;
      await picture(this.path("original")).then((source) => { sent.src = source; }, none);
      return;
    }
    const layers = make("div", { className: "layers" });
    const [width, height] = [line.width ?? line.picture?.width, line.height ?? line.picture?.height];
    layers.style.setProperty("--w", width);
    layers.style.setProperty("--h", height);
    layers.classList.toggle("tiny", Math.max(width, height) <= 128);
    stage.append(layers);
    stage.style.setProperty("--stage-h", `${stage.clientHeight}px`);
    const made = line.picture && line.pipeline === "generate"; // from a seed: there is no picture before it
    await this.addPicture(layers, made ? "picture" : "original", made ? `made from ${line.image}` : `${line.image} as it was sent`);
    if (this.line !== line) return;
    if (made) this.facts(side, { Seed: line.picture.seed, Class: line.picture.class, Realness: line.picture.realness });
    else if (line.picture) await this.beforeAndAfter(layers, side);
    else if (line.detections || line.instances) this.objects(layers, side, line.detections ?? line.instances);
    else if (line.segments) await this.segments(layers, side);
    else if (line.labels) this.labels(side);
    side.append(make("p", { className: "quiet", textContent: `${width} × ${height} pixels` }));
  }

  async addPicture(layers, kind, alt) {
    try {
      const image = make("img", { alt, src: await picture(this.path(kind)) });
      layers.append(image);
      return image;
    } catch {
      layers.append(make("p", { textContent: `The ${kind} can't be shown.` }));
      return null;
    }
  }

  path(kind) {
    const { image, number } = this.line;
    return `/v1/jobs/${this.job}/images/${number ?? image.split("/").map(encodeURIComponent).join("/")}?kind=${kind}`;
  }

  objects(layers, side, found) {
    const canvas = make("canvas");
    const svg = drawn("svg", { viewBox: `0 0 ${this.line.width} ${this.line.height}`, "aria-hidden": "true" });
    layers.append(canvas, svg);
    const list = make("ul", { className: "found" });
    const count = make("p", { className: "quiet" });
    count.setAttribute("role", "status");
    const masked = found.some((one) => one.mask);
    const slider = make("input", { type: "range", min: 0, max: 1, step: 0.01, value: this.options.threshold ?? 0 });
    const said = make("span");
    const paint = () => {
      const threshold = Number(slider.value);
      const chosen = found.filter((one) => one.score >= threshold);
      said.textContent = `Least score ${threshold.toFixed(2)}`;
      count.textContent = `${chosen.length} of ${found.length} ${found.length === 1 ? "object" : "objects"}`;
      paintBoxes(svg, this.line, chosen, this.options);
      if (masked) paintMasks(canvas, found, this.options.masks ? chosen : []);
      list.replaceChildren(...chosen.map((one) => this.row(one.class_id, one.label, `${Math.round(100 * one.score)}%`)));
    };
    slider.oninput = () => { this.options.threshold = Number(slider.value); paint(); };
    side.append(make("label", {}, said, slider));
    for (const name of masked ? ["boxes", "masks", "labels"] : ["boxes", "labels"]) {
      const box = make("input", { type: "checkbox", checked: this.options[name] });
      box.onchange = () => { this.options[name] = box.checked; paint(); };
      side.append(make("label", { className: "check" }, box, name[0].toUpperCase() + name.slice(1)));
    }
    side.append(count, list);
    paint();
    this.resized?.disconnect();
    this.resized = new ResizeObserver(paint); // labels keep their size on the screen
    this.resized.observe(svg);
  }

  async segments(layers, side) {
    const mask = await this.addPicture(layers, "mask", "The class of every pixel");
    if (!mask) return;
    mask.style.opacity = 0.55;
    const slider = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0.55 });
    slider.oninput = () => { mask.style.opacity = slider.value; };
    side.append(make("label", {}, "Mask over picture", slider),
      make("ul", { className: "found" }, ...this.line.segments.map((one) =>
        this.row(one.class_id, one.label, `${(100 * one.share).toFixed(1)}%`))));
  }

  facts(side, told) {
    side.append(make("ul", { className: "found plain" }, ...Object.entries(told).filter(([, value]) => value !== undefined && value !== null)
      .map(([name, value]) => this.row(null, name, String(value)))));
  }

  labels(side) {
    side.append(make("ul", { className: "found" }, ...this.line.labels.map((one) =>
      this.row(one.class_id, one.label, `${(100 * one.score).toFixed(1)}%`))));
  }

  async beforeAndAfter(layers, side) {
    const after = await this.addPicture(layers, "picture", "What became of it");
    if (!after) return;
    const chequer = make("div", { className: "after" + (this.line.picture.channels === 4 ? " chequer" : "") });
    after.before(chequer);
    after.classList.add("after");
    layers.append(make("div", { className: "handle" }));
    const slider = make("input", { type: "range", min: 0, max: 100, value: 50 });
    const cut = () => layers.style.setProperty("--cut", `${slider.value}%`);
    slider.oninput = cut;
    layers.onpointermove = (event) => {
      if (!event.buttons) return;
      const place = layers.getBoundingClientRect();
      slider.value = (100 * (event.clientX - place.left)) / place.width;
      cut();
    };
    layers.onpointerdown = layers.onpointermove;
    cut();
    side.append(make("label", {}, "Before | after", slider));
  }

  row(id, name, said) {
    const key = make("i");
    if (id !== null) key.style.background = colour(id);
    else key.hidden = true;
    return make("li", {}, key, make("span", { textContent: name }), make("span", { textContent: said }));
  }
}
