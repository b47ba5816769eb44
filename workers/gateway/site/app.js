// The page: four views behind the address's fragment.

import { showJob } from "./job.js";
import { showJobs, showService } from "./lists.js";
import { attempt, main, make } from "./page.js";
import { showNew } from "./start.js";
import { Viewer } from "./viewer.js";

const viewer = new Viewer(document.getElementById("viewer"));
const views = { new: showNew, job: showJob, jobs: showJobs, service: showService };
let leaving = new AbortController();

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
  main.replaceChildren(make("p", { className: "quiet", textContent: "Loading …" })); // what was here is not what is asked for
  await attempt(() => (views[name] ?? showNew)(leaving.signal, job, viewer));
}

addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); scrollTo(0, 0); });
show();
