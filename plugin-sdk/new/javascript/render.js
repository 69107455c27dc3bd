// Copies the text of every wanted template to its path.
import { read } from "supamanager:plugin/templates@0.1.0";

export const describe = () => ({
  name: "__NAME__",
  version: "0.1.0", // both as in plugin.toml
  summary: "Copies the text of every wanted template to its path",
});

// A template that is not there is thrown by `read`, and so answered to the host.
export const render = (_context, wanted, _soFar) =>
  wanted.map(({ template, path, mode }) => ({ path, mode, content: read(template) }));
