// Starts the dashboard and offers it the heavy modules, each fetched when first asked for.
// Invariant: no inline script and no eval; the content security policy allows only files of our own.
import init from "./pilothouse.js";

const lazy = {
  editor: () => import("./editor.js"),
  terminal: () => import("./terminal.js"),
};

globalThis.pilothouse = {
  load(name) {
    return lazy[name]();
  },
};

const fail = (error) => {
  const note = document.getElementById("boot");
  if (note) note.textContent = `The dashboard could not start: ${error?.message ?? error}`;
};

const wasm = document.querySelector("link[data-wasm]")?.href;
init({ module_or_path: wasm }).then(() => document.getElementById("boot")?.remove(), fail);
