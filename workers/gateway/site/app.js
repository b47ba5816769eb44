// The page: four views behind the address's fragment.

import { call, download, json, listen, picture, upload } from "./api.js";
import { Viewer } from "./viewer.js";

const main = document.getElementById("main");
const notice = document.getElementById("notice");
const viewer = new Viewer(document.getElementById("viewer"));
let leaving = new AbortController();
let pipelines = null;

const make = (tag, more = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), more);
  element.append(...inside);
  return element;
};

function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

async function attempt(work) {
  try {
    say("");
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
  }
}

const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function view(name) {
  main.replaceChildren(document.getElementById(`view-${name}`).content.cloneNode(true));
  return Object.fromEntries([...main.querySelectorAll("[data-ref]")].map((one) => [one.dataset.ref, one]));
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const [name, job] = (location.hash.slice(1) || "new").split("/");
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#${name}` || (name === "job" && link.hash === "#jobs");
    here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  document.title = name === "new" ? "Pixelmill" : `${name[0].toUpperCase()}${name.slice(1)} – Pixelmill`;
  if (viewer.dialog.open) viewer.dialog.close();
  const views = { new: showNew, job: showJob, jobs: showJobs, service: showService };
  await attempt(() => (views[name] ?? showNew)(leaving.signal, job));
}

// ---- New

async function showNew(signal) {
  const refs = view("new");
  pipelines ??= await json("/v1/pipelines", { signal });
  let files = [];
  for (const one of pipelines.filter((one) => one.models.length)) refs.pipeline.append(new Option(one.name, one.name));
  refs.pipeline.value = sessionStorage.getItem("pipeline") ?? "detect";
  const chosen = () => pipelines.find((one) => one.name === refs.pipeline.value);
  const choose = () => {
    const one = chosen();
    refs.summary.textContent = one.summary;
    refs.model.replaceChildren(...one.models.map((name) => new Option(name, name, false, name === one.default_model)));
    refs.params.replaceChildren(refs.params.firstElementChild, ...fields(one.parameters));
    refs.params.hidden = refs.params.childElementCount < 2;
    const made = one.name === "generate"; // from seeds: there is nothing to choose
    refs.seeds.hidden = !made;
    refs.drop.hidden = made;
    main.querySelector("form").classList.toggle("made", made);
    refs.start.disabled = !made && !files.length;
  };
  refs.pipeline.onchange = choose;
  choose();
  const take = (given) => {
    files = [...given];
    refs.chosen.textContent = files.length ? `${files.length} ${files.length === 1 ? "picture" : "pictures"}` : "none yet";
    refs.previews.replaceChildren(...files.slice(0, 12).map((file) => {
      const image = make("img", { alt: file.name, src: URL.createObjectURL(file) });
      image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
      return make("li", {}, image);
    }));
    refs.start.disabled = !files.length;
  };
  refs.files.onchange = () => take(refs.files.files);
  refs.drop.ondragover = (event) => { event.preventDefault(); refs.drop.classList.add("over"); };
  refs.drop.ondragleave = () => refs.drop.classList.remove("over");
  refs.drop.ondrop = (event) => {
    event.preventDefault();
    refs.drop.classList.remove("over");
    take(event.dataTransfer.files);
  };
  let key = crypto.randomUUID?.() ?? String(Math.random()); // one key a filled-in form: a second try is the same job
  main.querySelector("form").oninput = () => { key = crypto.randomUUID?.() ?? String(Math.random()); };
  main.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    attempt(async () => {
      sessionStorage.setItem("pipeline", refs.pipeline.value);
      if (!refs.seeds.hidden) {
        const [count, seed] = ["count", "seed"].map((name) => Number(refs.seeds.querySelector(`[name=${name}]`).value));
        const asked = { pipeline: "generate", model: refs.model.value, params: values(refs.params), count, seed };
        const job = await json("/v1/jobs", { method: "POST", body: JSON.stringify(asked),
          headers: { "Content-Type": "application/json", "Idempotency-Key": key } });
        location.hash = `#job/${job.job}`;
        return;
      }
      const form = new FormData();
      form.set("pipeline", refs.pipeline.value);
      form.set("model", refs.model.value);
      form.set("params", JSON.stringify(values(refs.params)));
      for (const file of files) form.append("files", file);
      refs.start.disabled = true;
      refs.upload.hidden = false;
      try {
        const job = await upload("/v1/jobs", form, key, (share) => { refs.upload.value = share; });
        location.hash = `#job/${job.job}`;
      } finally {
        refs.start.disabled = false;
        refs.upload.hidden = true;
      }
    });
  };
}

function fields(schema) {
  const rare = (name) => Number(name.startsWith("tile")); // those go last
  const shown = Object.entries(schema.properties).filter(([name]) => name !== "background_sha256");
  return shown.sort((a, b) => rare(a[0]) - rare(b[0])).map(([name, whole]) => {
    const about = { ...whole, ...(whole.anyOf ?? []).find((one) => one.type !== "null") }; // a number, or none
    const title = name.replaceAll("_", " ");
    const words = make("small", { textContent: about.description ?? "" });
    let input;
    if (about.enum) {
      input = make("select", {}, ...about.enum.map((one) => new Option(one, one, false, one === about.default)));
    } else if (about.type === "boolean") {
      input = make("input", { type: "checkbox", checked: about.default });
    } else if (about.type === "integer" || about.type === "number") {
      input = make("input", { type: "number", step: about.type === "integer" ? 1 : "any", placeholder: about.default ?? "" });
      if ("minimum" in about) input.min = about.minimum;
      if ("maximum" in about) input.max = about.maximum;
    } else {
      input = make("input", { type: "text",
        placeholder: about.type === "array" ? "all; or names, with commas between" : about.default ?? "" });
    }
    input.name = name;
    input.dataset.kind = about.enum ? "enum" : about.type;
    input.dataset.default = JSON.stringify(about.default ?? null);
    const label = about.type === "boolean" ? make("label", { className: "check" }, input, title) : make("label", {}, title, input);
    label.append(words);
    return label;
  });
}

function values(fieldset) {
  const given = {};
  for (const input of fieldset.querySelectorAll("[name]")) {
    const { kind } = input.dataset;
    const value = kind === "boolean" ? input.checked
      : input.value === "" ? null
      : kind === "integer" || kind === "number" ? Number(input.value)
      : kind === "array" ? input.value.split(",").map((one) => one.trim()).filter(Boolean)
      : input.value;
    if (value !== null && JSON.stringify(value) !== input.dataset.default) given[input.name] = value;
  }
  return given;
}

// ---- One job

async function showJob(signal, job) {
  const refs = view("job");
  const status = await json(`/v1/jobs/${job}`, { signal });
  const lines = [];
  const tiles = new Map();
  let only = "all";
  let shown = status;

  const update = (now) => {
    shown = { ...shown, ...now };
    const { total, finished, failed, state } = shown;
    const ended = !["pending", "running"].includes(state);
    refs.title.replaceChildren(`${shown.pipeline} with ${shown.model} `, badge(state));
    refs.facts.textContent = [`job ${job}`, shown.provider, shown.reason, shown.trouble].filter(Boolean).join(" · ");
    refs.bar.value = total ? finished / total : 0;
    refs.bar.hidden = ended;
    const rate = shown.images_per_second ? `, ${shown.images_per_second} a second` : "";
    refs.count.textContent = `${finished} of ${total ?? "…"} pictures, ${failed} failed${ended ? `, in ${shown.seconds} s` : rate}`;
    refs.cancel.hidden = ended;
    refs.retry.hidden = !ended || !failed;
    refs["download-label"].hidden = !ended;
  };
  const filter = () => {
    for (const [image, tile] of tiles) tile.hidden = only === "failed" && lines.find((one) => one.image === image)?.status === "ok";
  };
  const add = async (line) => {
    if (lines.some((one) => one.image === line.image)) return;
    lines.push(line);
    const tile = tiles.get(line.image) ?? waiting(line.image);
    const button = tile.firstElementChild;
    button.disabled = false;
    button.classList.toggle("failed", line.status !== "ok");
    button.querySelector(".said").textContent = said(line);
    button.onclick = () => {
      const inOrder = [...lines].sort((a, b) => (a.number ?? 0) - (b.number ?? 0));
      viewer.open(job, inOrder, inOrder.indexOf(line));
    };
    const frame = button.querySelector(".frame");
    if (line.status !== "ok") frame.textContent = "✕";
    else {
      const image = make("img", { alt: "" });
      const name = line.number ?? line.image.split("/").map(encodeURIComponent).join("/");
      thumbnail(image, `/v1/jobs/${job}/images/${name}?kind=thumbnail&size=420`, signal, 3)
        .then(() => frame.replaceChildren(image), () => { frame.textContent = "–"; });
    }
    filter();
  };
  const waiting = (image) => {
    const tile = make("li", {}, make("button", { className: "tile", disabled: true, type: "button" },
      make("span", { className: "frame", textContent: "waiting" }),
      make("span", { className: "words" }, make("span", { className: "name", textContent: image, title: image }),
        make("span", { className: "said" }))));
    tiles.set(image, tile);
    refs.grid.append(tile);
    return tile;
  };

  status.images.forEach(waiting);
  update(status);
  for (const button of main.querySelectorAll("[data-show]")) {
    button.onclick = () => {
      only = button.dataset.show;
      for (const one of main.querySelectorAll("[data-show]")) one.setAttribute("aria-pressed", one === button);
      filter();
    };
  }
  refs.cancel.onclick = () => attempt(async () => update(await json(`/v1/jobs/${job}`, { method: "DELETE" })));
  refs.retry.onclick = () => attempt(async () => {
    location.hash = `#job/${(await json(`/v1/jobs/${job}/retry`, { method: "POST" })).job}`;
  });
  pipelines ??= await json("/v1/pipelines", { signal });
  const formats = pipelines.find((one) => one.name === status.pipeline)?.formats ?? [];
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
  if (line.segments) return line.segments.slice(0, 3).map((one) => `${one.label} ${Math.round(100 * one.share)}%`).join(", ");
  if (line.picture) return line.picture.effect ?? "made";
  const counts = {};
  for (const one of line.detections ?? line.instances ?? []) counts[one.label] = (counts[one.label] ?? 0) + 1;
  return Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ") || "nothing found";
}

function badge(state) {
  const kind = state === "done with failures" ? "some" : state;
  return make("span", { className: `state ${kind}`, textContent: state });
}

// ---- Jobs

async function showJobs(signal) {
  const refs = view("jobs");
  const draw = async () => {
    const jobs = await json("/v1/jobs?limit=200", { signal });
    refs.empty.hidden = jobs.length > 0;
    refs.rows.replaceChildren(...jobs.map((one) => {
      const ended = !["pending", "running"].includes(one.state);
      const action = make("button", { textContent: ended ? "Retry failures" : "Cancel", hidden: ended && !one.failed });
      action.onclick = () => attempt(async () => {
        await call(`/v1/jobs/${one.job}${ended ? "/retry" : ""}`, { method: ended ? "POST" : "DELETE" });
        await draw();
      });
      const bar = make("progress", { max: one.total || 1, value: one.finished });
      bar.setAttribute("aria-label", `${one.finished} of ${one.total}`);
      return make("tr", {},
        make("td", {}, make("a", { href: `#job/${one.job}`, textContent: one.job })),
        make("td", {}, badge(one.state)), make("td", { textContent: one.pipeline }),
        make("td", {}, `${one.finished} / ${one.total ?? "…"} `, ...(ended ? [] : [bar])),
        make("td", { className: "number", textContent: one.failed }),
        make("td", { className: "number", textContent: one.seconds }), make("td", {}, action));
    }));
  };
  await draw();
  every(2000, signal, draw);
}

// ---- Service

async function showService(signal) {
  const refs = view("service");
  const draw = async () => {
    const now = await json("/v1/service", { signal });
    const running = Array.isArray(now.running) ? now.running.length : now.running;
    const waiting = Object.values(now.waiting).reduce((sum, one) => sum + one, 0);
    refs.cards.replaceChildren(...[["Broker", now.server], ["Workers", now.workers.length], ["Running jobs", running],
      ["Waiting shards", waiting], ["Images/s", now.images_per_second]].map(([name, value]) =>
      make("div", { className: "card" }, make("b", { textContent: value }), name)));
    bars(refs.queue, Object.entries(now.waiting).map(([name, count]) => [
      now.oldest_seconds[name] ? `${name}, oldest ${Math.round(now.oldest_seconds[name])} s` : name, count]));
    bars(refs.failures, Object.entries(now.failed_by_code).sort((a, b) => b[1] - a[1]), "none");
    refs.workers.replaceChildren(...now.workers.map((one) => make("tr", {},
      make("td", { textContent: one.name }), make("td", { textContent: `${one.busy} of ${one.processes}${one.ready ? "" : ", not ready"}` }),
      make("td", { textContent: `${Math.round(one.memory_mb)} MB` }),
      make("td", { textContent: [...new Set(one.loaded.map((model) => model.model))].join(", ") || "none yet" }),
      make("td", { textContent: [...new Set(one.loaded.map((model) => model.provider))].join(", ") }))));
    chart(refs, now.finished_by_minute);
  };
  await draw();
  every(2000, signal, draw);
}

function bars(place, rows, none = "empty") {
  const most = Math.max(1, ...rows.map((row) => row[1]));
  place.replaceChildren(...(rows.length ? rows : [[none, 0]]).map(([name, count]) => {
    const bar = make("i");
    bar.style.width = `${(100 * count) / most}%`;
    bar.style.visibility = count ? "visible" : "hidden";
    return make("div", {}, make("span", { textContent: name }), bar, make("span", { textContent: rows.length ? count : "" }));
  }));
}

// One bar a minute; the last one is the minute that runs.
function chart(refs, minutes) {
  const most = Math.max(...minutes), whole = minutes.reduce((sum, one) => sum + one, 0);
  refs.hour.textContent = whole ? `${counted(whole, "picture")}, at most ${most.toLocaleString("en")} a minute` : "No picture in the last hour.";
  refs.chart.hidden = refs.axis.hidden = !whole;
  refs.chart.replaceChildren(...minutes.map((count, index) => {
    const bar = make("i", { title: `${59 - index} min ago: ${count}` });
    bar.style.height = `${(100 * count) / (most || 1)}%`;
    return bar;
  }));
  refs.chart.setAttribute("aria-label", refs.hour.textContent);
}

function every(pause, signal, work) {
  const timer = setInterval(() => {
    if (!document.hidden) work().then(() => say(""), (error) => error.name !== "AbortError" && say(error.message));
  }, pause);
  signal.addEventListener("abort", () => clearInterval(timer));
}

addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); });
show();
