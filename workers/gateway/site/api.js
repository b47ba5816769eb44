// Talking to the gateway: one place for the token, for errors, for streams.

const KEY = "pixelmill-token";
let asking = null;

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the gateway answered ${status}`);
    this.status = status;
    this.code = problem.code;
  }
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask-token");
    const input = document.getElementById("token");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, input.value.trim());
      input.value = "";
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function problemOf(response) {
  try { return await response.json(); } catch { return {}; }
}

export async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { detail: "The gateway can't be reached." });
  }
  if (response.status === 401) {
    await askForToken();
    return call(path, options);
  }
  if (!response.ok) throw new ApiError(response.status, await problemOf(response));
  return response;
}

export const json = async (path, options) => (await call(path, options)).json();

// A picture as something <img> can show; with a token it can't be a plain address.
export async function picture(path, signal) {
  if (!sessionStorage.getItem(KEY)) return path;
  return URL.createObjectURL(await (await call(path, { signal })).blob());
}

export async function download(path, name) {
  const blob = await (await call(path)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// fetch tells nothing of how far an upload is; XMLHttpRequest does.
export function upload(path, form, key, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers({ "Idempotency-Key": key }))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(new ApiError(0, { detail: "The upload was cut off: start it again, nothing is done twice." }));
    request.onload = async () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* no JSON: a proxy's own page */ }
      if (request.status === 401) {
        await askForToken();
        upload(path, form, key, progress).then(resolve, reject);
      } else if (request.status >= 400) reject(new ApiError(request.status, answer));
      else resolve(answer);
    };
    request.send(form);
  });
}

// Server-sent events over fetch, which can send a token; taken up again where the line broke.
export async function listen(path, signal, heard) {
  let last = "";
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 10000)) {
    try {
      const response = await call(path, { signal, headers: last ? { "Last-Event-ID": last } : {} });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        pause = 500;
        const blocks = (rest + part.value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const event = Object.fromEntries(block.split("\n").filter((line) => line.includes(": ") && !line.startsWith(":"))
            .map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
          if (event.id) last = event.id;
          if (event.event) heard(event.event, JSON.parse(event.data));
          if (event.event === "end") return;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
