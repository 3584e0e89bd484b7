// Packs the dashboard: `node build.mjs BINDGEN_DIR DIST [--fast]`.
// Bundles the scripts and the styles under names that carry a hash of their content, so they may be cached for
// ever, and writes a brotli and a gzip copy beside each. `--fast` leaves out minifying and high compression.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const [bindgen, dist, ...flags] = process.argv.slice(2);
if (!bindgen || !dist) {
  console.error("usage: node build.mjs BINDGEN_DIR DIST [--fast]");
  process.exit(2);
}
const fast = flags.includes("--fast");
// Served under /ui/, so that /ui/assets/NAME is dist/assets/NAME.
const assets = join(dist, "assets");
rmSync(dist, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });

const hash = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 12);
const wasm = readFileSync(join(bindgen, "pilothouse_bg.wasm"));
const wasmName = `pilothouse-${hash(wasm)}.wasm`;
writeFileSync(join(assets, wasmName), wasm);

for (const name of ["boot.js", "editor.js", "terminal.js"]) copyFileSync(join(here, name), join(bindgen, name));
const common = { bundle: true, minify: !fast, outdir: assets, metafile: true, logLevel: "warning", nodePaths: [join(here, "node_modules")], target: "es2022" };
const results = await Promise.all([
  build({ ...common, entryPoints: [join(bindgen, "boot.js")], format: "esm", splitting: true, entryNames: "[name]-[hash]", chunkNames: "[name]-[hash]" }),
  build({ ...common, entryPoints: [join(here, "theme.js")], format: "iife", entryNames: "[name]-[hash]" }),
  build({ ...common, entryPoints: [join(here, "..", "style", "index.css")], entryNames: "[name]-[hash]", loader: { ".svg": "dataurl" } }),
]);
const made = results.flatMap((result) => Object.entries(result.metafile.outputs)).map(([path, output]) => ({ name: path.split("/").pop(), entry: output.entryPoint ?? "" }));
const named = (end) => made.find((file) => file.entry.endsWith(end) && !file.name.endsWith(".map"))?.name;

const icon = readFileSync(join(here, "..", "style", "icon.svg"));
const iconName = `icon-${hash(icon)}.svg`;
writeFileSync(join(assets, iconName), icon);
writeFileSync(join(dist, "favicon.svg"), icon);

const names = { wasm: wasmName, boot: named("boot.js"), theme: named("theme.js"), style: named("index.css"), icon: iconName };
const page = readFileSync(join(here, "..", "index.html"), "utf8").replaceAll(/\{\{(\w+)\}\}/g, (_, key) => `/ui/assets/${names[key]}`);
writeFileSync(join(dist, "index.html"), page);

const first = new Set([names.wasm, names.boot, names.theme, names.style, names.icon]);
let firstLoad = 0;
const report = [];
for (const path of [join(dist, "index.html"), ...readdirSync(assets).map((name) => join(assets, name))]) {
  const bytes = readFileSync(path);
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: fast ? 3 : 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });
  writeFileSync(`${path}.br`, brotli);
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: fast ? 1 : 9 }));
  const name = path.split("/").pop();
  const isFirst = first.has(name) || name === "index.html";
  if (isFirst) firstLoad += brotli.length;
  report.push([name, bytes.length, brotli.length, isFirst ? "first load" : "lazy"]);
}
for (const [name, raw, small, when] of report) console.log(`${name.padEnd(34)} ${String(raw).padStart(9)} B  ${String(small).padStart(8)} B brotli  ${when}`);
console.log(`first load: ${(firstLoad / 1024).toFixed(1)} KB brotli`);
if (!existsSync(join(assets, names.boot ?? ""))) throw new Error("the entry script is missing from the bundle");
