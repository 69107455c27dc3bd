// Makes plugin.wasm of plugin.js, for the hook of plugin.toml.
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { componentize } from "@bytecodealliance/componentize-js";

const manifest = readFileSync("plugin.toml", "utf8");
const [, hook] = manifest.match(/^hook = "(.*)"/m);
const [, imports] = manifest.match(/^imports = (\[[^\]]*\])/m);

// componentize-js imports all that a world has, the host links only what plugin.toml lists: a world with just that.
rmSync("build", { recursive: true, force: true });
cpSync("wit", "build", { recursive: true });
const worlds = readFileSync("wit/worlds.wit", "utf8");
writeFileSync(
  "build/worlds.wit",
  worlds.replace(/^ *import (.*);\n/gm, (line, name) => (imports.includes(`"${name}"`) ? line : "")),
);

const { component } = await componentize({
  sourcePath: "plugin.js",
  witPath: "build",
  worldName: hook,
  // The host refuses a plugin that imports WASI.
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});

writeFileSync("plugin.wasm", component);
