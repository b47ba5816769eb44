// All jobs, and the service.

import { call, json } from "./api.js";
import { attempt, badge, counted, every, make, seconds, view } from "./page.js";

export async function showJobs(signal) {
  const refs = view("jobs");
  const draw = async () => {
    const jobs = await json("/v1/jobs?limit=200", { signal });
    refs.empty.hidden = jobs.length > 0;
    refs.table.hidden = !jobs.length;
    const focused = document.activeElement.closest("tbody tr") ? [...refs.rows.querySelectorAll("a, button")].indexOf(document.activeElement) : -1;
    refs.rows.replaceChildren(...jobs.map((one) => {
      const ended = !["pending", "running"].includes(one.state);
      const action = make("button", { className: "small", textContent: ended ? "Retry failures" : "Cancel", hidden: ended && !one.failed });
      action.onclick = () => attempt(async () => {
        await call(`/v1/jobs/${one.job}${ended ? "/retry" : ""}`, { method: ended ? "POST" : "DELETE" });
        await draw();
      });
      const bar = make("progress", { max: one.total || 1, value: one.finished });
      bar.setAttribute("aria-label", `${one.finished} of ${one.total}`);
      return row(refs.table,
        [make("a", { href: `#job/${one.job}`, textContent: one.pipeline }), make("small", { className: "quiet", textContent: ` ${one.job}` })],
        [badge(one.state)],
        [`${one.finished} / ${one.total ?? "…"} `, ...(ended ? [] : [bar])],
        [one.failed], [new Date(one.created).toLocaleString([], { dateStyle: "short", timeStyle: "short" })], [seconds(one.seconds)],
        action.hidden ? [] : [action]);
    }));
    refs.rows.querySelectorAll("a, button")[focused]?.focus(); // drawing anew must not take the keyboard's place
  };
  await draw();
  every(2000, signal, draw);
}

// A row whose cells know their columns' names, which a narrow screen shows beside them.
function row(table, ...cells) {
  const names = [...table.querySelectorAll("th")].map((one) => one.textContent);
  return make("tr", {}, ...cells.map((inside, index) => {
    const cell = make("td", {}, ...inside);
    cell.dataset.name = names[index];
    return cell;
  }));
}

export async function showService(signal) {
  const refs = view("service");
  const draw = async () => {
    const now = await json("/v1/service", { signal });
    const running = Array.isArray(now.running) ? now.running.length : now.running;
    const waiting = Object.values(now.waiting).reduce((sum, one) => sum + one, 0);
    refs.cards.replaceChildren(...[["Broker", now.server], ["Workers", now.workers.length], ["Running jobs", running],
      ["Waiting shards", waiting], ["Pictures a second", now.images_per_second]].map(([name, value]) =>
      make("div", { className: "card" }, make("b", { textContent: value }), name)));
    bars(refs.queue, Object.entries(now.waiting).map(([name, count]) => [
      now.oldest_seconds[name] ? `${name}, oldest ${Math.round(now.oldest_seconds[name])} s` : name, count]));
    bars(refs.failures, Object.entries(now.failed_by_code).sort((a, b) => b[1] - a[1]), "none");
    refs.workers.replaceChildren(...now.workers.map((one) => row(refs.workers.closest("table"),
      [one.name], [`${one.busy} of ${one.processes}${one.ready ? "" : ", not ready"}`], [`${Math.round(one.memory_mb)} MB`],
      [[...new Set(one.loaded.map((model) => model.model))].join(", ") || "none yet"],
      [[...new Set(one.loaded.map((model) => model.provider))].join(", ") || "–"])));
    refs.counted.textContent = `In the last ${counted(now.jobs_counted, "job")}.`;
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
