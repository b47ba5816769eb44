"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const pictures = [...document.querySelectorAll(".picture")];
  const label = byId("label"), text = byId("text");
  const bars = [...document.querySelectorAll("button.row")];
  const labelsOf = new Map(pictures.map((picture) => [picture, new Set(JSON.parse(picture.dataset.labels))]));
  const textOf = new Map(pictures.map((picture) => [picture, picture.dataset.text.toLowerCase()]));

  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const picture of pictures) {
      const fits = (!label.value || labelsOf.get(picture).has(label.value))
        && words.every((word) => textOf.get(picture).includes(word));
      picture.hidden = !fits;
      shown += fits;
    }
    const filtered = Boolean(label.value || words.length);
    byId("shown").textContent = filtered ? `${shown} of ${pictures.length}` : "";
    byId("clear").hidden = !filtered;
    byId("empty").hidden = shown > 0;
    for (const bar of bars) bar.setAttribute("aria-pressed", String(bar.dataset.label === label.value));
  };

  if (pictures.length) {
    label.addEventListener("change", filter);
    text.addEventListener("input", filter);
    byId("clear").addEventListener("click", () => { label.value = ""; text.value = ""; filter(); });
    for (const bar of bars) bar.addEventListener("click", () => {
      label.value = label.value === bar.dataset.label ? "" : bar.dataset.label;
      filter();
      byId("pictures").scrollIntoView({ behavior: "smooth" });
    });
    filter();
  }

  const box = byId("box"), image = byId("box-image"), open = byId("box-open");
  let current = null;
  const links = () => pictures.filter((picture) => !picture.hidden && picture.querySelector("a"))
    .map((picture) => picture.querySelector("a"));
  const show = (link) => {
    current = link;
    const picture = link.closest(".picture"), small = link.querySelector("img").src;
    const full = link.dataset.full ? link.href : "";
    image.onerror = () => { image.onerror = null; image.src = small; open.hidden = true; };
    image.src = full || small;
    image.classList.toggle("alpha", Boolean(full && link.dataset.alpha));
    image.alt = link.querySelector("img").alt;
    byId("box-name").textContent = picture.dataset.name;
    byId("box-found").textContent = [...picture.querySelectorAll(".found li")]
      .map((row) => row.textContent.trim().replace(/\s+/g, " ")).join(" · ");
    open.hidden = !full;
    if (full) open.href = full;
    if (!box.open) box.showModal();
  };
  const step = (by) => {
    const all = links(), at = all.indexOf(current);
    if (all.length) show(all[(at + by + all.length) % all.length]);
  };
  for (const picture of pictures) {
    const link = picture.querySelector("a");
    if (link) link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      show(link);
    });
  }
  byId("box-back").addEventListener("click", () => step(-1));
  byId("box-next").addEventListener("click", () => step(1));
  byId("box-close").addEventListener("click", () => box.close());
  image.addEventListener("click", () => box.close());
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
  });
  box.addEventListener("close", () => { image.removeAttribute("src"); if (current) current.focus(); });
  document.body.dataset.started = "1";
})();
