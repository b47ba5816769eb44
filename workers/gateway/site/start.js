// The first view: choose pictures, or how many to make, and what to do.

import { json, upload } from "./api.js";
import { attempt, counted, main, make, pipelines, view } from "./page.js";

const PREVIEWS = 11;

export async function showNew(signal) {
  const refs = view("new");
  const known = await pipelines(signal);
  let files = [];
  for (const one of known.filter((one) => one.models.length)) refs.pipeline.append(new Option(one.name, one.name));
  refs.pipeline.value = sessionStorage.getItem("pipeline") ?? "detect";
  const chosen = () => known.find((one) => one.name === refs.pipeline.value);
  const choose = () => {
    const one = chosen();
    refs.summary.textContent = one.summary;
    refs.model.replaceChildren(...one.models.map((name) => new Option(name, name, false, name === one.default_model)));
    refs.params.replaceChildren(refs.params.firstElementChild, ...fields(one.parameters));
    refs.params.hidden = refs.params.childElementCount < 2;
    const made = Boolean(one.seeds); // there is nothing to choose
    for (const [name, about] of Object.entries(one.seeds ?? {})) {
      const number = { ...about, ...about.anyOf?.find((kind) => kind.type === "integer") };
      Object.assign(refs.seeds.querySelector(`[name=${name}]`), { min: number.minimum, max: number.maximum });
    }
    refs.seeds.hidden = !made;
    refs.drop.hidden = made;
    main.querySelector("form").classList.toggle("made", made);
    refs.start.disabled = !made && !files.length;
  };
  refs.params.open = sessionStorage.getItem("params") === "open";
  refs.params.ontoggle = () => sessionStorage.setItem("params", refs.params.open ? "open" : "");
  refs.pipeline.onchange = choose;
  choose();
  const take = (given) => {
    files = [...given];
    refs.chosen.textContent = files.length ? counted(files.length, "picture") : "No pictures chosen yet";
    refs.clear.hidden = !files.length;
    refs.previews.replaceChildren(...files.slice(0, PREVIEWS).map((file) => {
      const image = make("img", { alt: file.name, title: file.name, src: URL.createObjectURL(file) });
      image.onload = () => URL.revokeObjectURL(image.src);
      image.onerror = () => { URL.revokeObjectURL(image.src); image.replaceWith(make("span", { title: file.name, textContent: "?" })); };
      return make("li", {}, image);
    }), ...(files.length > PREVIEWS ? [make("li", {}, make("span", { textContent: `+${files.length - PREVIEWS}` }))] : []));
    refs.start.disabled = !files.length;
  };
  refs.clear.onclick = () => { refs.files.value = ""; take([]); refs.files.focus(); };
  refs.files.onchange = () => take(refs.files.files);
  refs.drop.ondragover = (event) => { event.preventDefault(); refs.drop.classList.add("over"); };
  refs.drop.ondragleave = () => refs.drop.classList.remove("over");
  refs.drop.ondrop = (event) => {
    event.preventDefault();
    refs.drop.classList.remove("over");
    take([...files, ...event.dataTransfer.files]);
  };
  let key = crypto.randomUUID?.() ?? String(Math.random()); // one key a filled-in form: a second try is the same job
  main.querySelector("form").oninput = () => { key = crypto.randomUUID?.() ?? String(Math.random()); };
  main.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    attempt(async () => {
      sessionStorage.setItem("pipeline", refs.pipeline.value);
      if (!refs.seeds.hidden) {
        const [count, seed] = ["count", "seed"].map((name) => Number(refs.seeds.querySelector(`[name=${name}]`).value));
        const asked = { pipeline: refs.pipeline.value, model: refs.model.value, params: values(refs.params), count, seed };
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
    const title = name === "iou" ? "IoU" : name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
    const words = make("small", { textContent: about.description ?? "" });
    let input;
    if (about.enum) {
      input = make("select", {}, ...about.enum.map((one) => new Option(one, one, false, one === about.default)));
    } else if (about.type === "boolean") {
      input = make("input", { type: "checkbox", checked: about.default });
    } else if (about.type === "integer" || about.type === "number") {
      input = make("input", { type: "number", step: about.type === "integer" ? 1 : "any", placeholder: about.default ?? "none" });
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
