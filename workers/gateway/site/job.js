// One job: its pictures as they land, its failures, what can be done about it.

import { download, json, listen, picture } from "./api.js";
import { attempt, badge, counted, main, make, pipelines, say, seconds, view } from "./page.js";

const TILES = 300; // more are shown when they are asked for

export async function showJob(signal, job, viewer) {
  let status;
  try {
    status = await json(`/v1/jobs/${encodeURIComponent(job)}`, { signal });
  } catch (error) {
    if (error.status !== 404) throw error;
    view("lost");
    return;
  }
  const refs = view("job");
  const lines = new Map(); // by image
  const names = [...status.images]; // in their order; those of a folder come as they are done
  const tiles = new Map();
  let only = "all";
  let most = TILES;
  let shown = status;
  const colours = json(`/v1/models/${encodeURIComponent(status.model)}`, { signal }).then((card) => card.colours, () => []);

  const update = (now) => {
    shown = { ...shown, ...now };
    const { total, finished, failed, state } = shown;
    const ended = !["pending", "running"].includes(state);
    refs.title.replaceChildren(`${shown.pipeline} `, make("span", { className: "quiet", textContent: `with ${shown.model} ` }), badge(state));
    const on = shown.provider ? `on ${shown.provider.replace("ExecutionProvider", "")}` : "";
    refs.facts.textContent = [`job ${job}`, on, shown.reason, shown.trouble].filter(Boolean).join(" · ");
    refs.bar.value = total ? finished / total : 0;
    refs.bar.hidden = ended;
    const rate = shown.images_per_second ? `, ${shown.images_per_second} a second` : "";
    const done = ended && finished === total ? counted(total, "picture") : `${finished} of ${total === null ? "…" : counted(total, "picture")}`;
    refs.count.textContent = `${done}${failed ? `, ${failed} failed` : ""}${ended ? `, in ${seconds(shown.seconds)}` : rate}`;
    refs.cancel.hidden = ended;
    refs.retry.hidden = !ended || (!failed && finished === total);
    refs.retry.textContent = failed ? "Retry failures" : "Do the rest";
    refs["download-label"].hidden = !ended || !finished;
    refs.filters.hidden = !failed && only === "all";
    if (ended) for (const frame of refs.grid.querySelectorAll("button:disabled .frame")) frame.textContent = "not done";
  };
  const fits = (image) => only === "all" || (lines.has(image) && lines.get(image).status !== "ok");
  const inView = new IntersectionObserver((seen) => {
    for (const one of seen.filter((one) => one.isIntersecting)) {
      inView.unobserve(one.target);
      draw(one.target, lines.get(one.target.dataset.image));
    }
  }, { rootMargin: "400px" });
  signal.addEventListener("abort", () => inView.disconnect());
  const draw = (frame, line) => {
    const image = make("img", { alt: "" });
    const name = line.number ?? line.image.split("/").map(encodeURIComponent).join("/");
    thumbnail(image, `/v1/jobs/${job}/images/${name}?kind=thumbnail&size=420`, signal, 3)
      .then(() => frame.replaceChildren(image), () => { frame.textContent = "no preview"; });
  };
  const fill = (image) => {
    const line = lines.get(image);
    const button = tiles.get(image).firstElementChild;
    button.disabled = false;
    button.classList.toggle("failed", line.status !== "ok");
    button.querySelector(".said").textContent = said(line);
    button.onclick = async () => {
      const there = names.filter((name) => lines.has(name) && fits(name)).map((name) => lines.get(name));
      viewer.open(job, there, there.indexOf(line), await colours);
    };
    const frame = button.querySelector(".frame");
    if (line.status !== "ok") frame.textContent = "✕";
    else inView.observe(frame);
  };
  const tile = (image) => {
    const frame = make("span", { className: "frame", textContent: "waiting" });
    frame.dataset.image = image;
    tiles.set(image, make("li", {}, make("button", { className: "tile", disabled: true, type: "button" }, frame,
      make("span", { className: "words" }, make("span", { className: "name", textContent: shortly(image), title: image }),
        make("span", { className: "said" })))));
    if (lines.has(image)) fill(image);
    return tiles.get(image);
  };
  const arrange = () => {
    const chosen = names.filter(fits);
    refs.grid.replaceChildren(...chosen.slice(0, most).map((image) => tiles.get(image) ?? tile(image)));
    refs.more.hidden = chosen.length <= most;
    refs.more.textContent = `Show more of ${counted(chosen.length, "picture")}`;
  };
  const add = (line) => {
    const { image } = line;
    if (lines.has(image)) return;
    lines.set(image, line);
    if (!status.images.length) names.push(image);
    if (tiles.has(image)) fill(image);
    if (tiles.has(image) ? only !== "all" : refs.grid.childElementCount < most) arrange();
    else if (!tiles.has(image)) refs.more.hidden = false;
  };

  refs.grid.classList.toggle("made", status.pipeline === "generate");
  refs.more.onclick = () => { most += TILES; arrange(); };
  arrange();
  update(status);
  for (const button of main.querySelectorAll("[data-show]")) {
    button.onclick = () => {
      only = button.dataset.show;
      for (const one of main.querySelectorAll("[data-show]")) one.setAttribute("aria-pressed", one === button);
      arrange();
    };
  }
  refs.cancel.onclick = () => attempt(async () => update(await json(`/v1/jobs/${job}`, { method: "DELETE" })));
  refs.retry.onclick = () => attempt(async () => {
    location.hash = `#job/${(await json(`/v1/jobs/${job}/retry`, { method: "POST" })).job}`;
  });
  const formats = (await pipelines(signal)).find((one) => one.name === status.pipeline)?.formats ?? [];
  for (const name of ["jsonl", ...formats]) refs.download.append(new Option(name, name));
  refs.download.onchange = () => attempt(async () => {
    const name = refs.download.value;
    refs.download.value = "";
    const folder = ["yolo", "voc", "labelme"].includes(name) || (name === "masks" && status.pipeline === "instances");
    const ending = folder ? "zip" : { coco: "json", "coco-polygons": "json", masks: "csv" }[name] ?? name;
    if (name) await download(`/v1/jobs/${job}/results?format=${name}`, `${job}-${name}.${ending}`);
  });
  listen(`/v1/jobs/${job}/events`, signal, (kind, data) => {
    if (kind === "image") add(data);
    if (kind === "progress" || kind === "end") update(data);
    if (kind === "trouble") say(data.detail);
    if (kind === "missed") say(`${data} earlier pictures are in the results, not on this page.`);
  }).catch((error) => say(error.message));
}

// While a job closes, its results move, and for a moment a picture can't be found: ask again.
async function thumbnail(image, path, signal, tries) {
  try {
    image.src = await picture(tries < 3 ? `${path}&try=${tries}` : path, signal);
    await image.decode();
  } catch (error) {
    if (tries === 0 || signal.aborted) throw error;
    await new Promise((resolve) => setTimeout(resolve, 700));
    await thumbnail(image, path, signal, tries - 1);
  }
}

function said(line) {
  if (line.status !== "ok") return line.error?.message ?? line.error?.code ?? "failed";
  if (line.labels) return line.labels.length ? `${line.labels[0].label} ${Math.round(100 * line.labels[0].score)}%` : "no label";
  if (line.segments) return line.segments.filter((one) => !/^_*(background|bg)_*$/i.test(one.label)).slice(0, 3).map((one) => `${one.label} ${Math.round(100 * one.share)}%`).join(", ");
  if (line.picture) return [line.picture.effect, line.picture.class].filter(Boolean).join(", ") || "made";
  const counts = {};
  for (const one of line.detections ?? line.instances ?? []) counts[one.label] = (counts[one.label] ?? 0) + 1;
  return Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ") || "nothing found";
}

// seed-0000000007.png is a name for files; people say seed 7
const shortly = (image) => image.replace(/^seed-0*(\d+)\.png$/, "seed $1");
