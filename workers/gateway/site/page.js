// What all views share: making elements, saying what went wrong, asking again.

import { json } from "./api.js";

export const main = document.getElementById("main");
const notice = document.getElementById("notice");
let known = null;

export const make = (tag, more = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), more);
  element.append(...inside);
  return element;
};

export function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

export async function attempt(work) {
  try {
    say("");
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
  }
}

export const seconds = (count) => count < 100 ? `${Math.round(10 * count) / 10} s` : `${Math.round(count / 60)} min`;
export const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

export function view(name) {
  main.replaceChildren(document.getElementById(`view-${name}`).content.cloneNode(true));
  return Object.fromEntries([...main.querySelectorAll("[data-ref]")].map((one) => [one.dataset.ref, one]));
}

export async function pipelines(signal) {
  known ??= await json("/v1/pipelines", { signal });
  return known;
}

export function badge(state) {
  const kind = state === "done with failures" ? "some" : state;
  return make("span", { className: `state ${kind}`, textContent: state });
}

export function every(pause, signal, work) {
  const timer = setInterval(() => {
    if (!document.hidden) work().then(() => say(""), (error) => error.name !== "AbortError" && say(error.message));
  }, pause);
  signal.addEventListener("abort", () => clearInterval(timer));
}
