// Tells whoever listens in the project's database that the project goes away.
import { report } from "supamanager:plugin/progress@0.1.0";
import { execute } from "supamanager:plugin/sql@0.1.0";

const DEADLINE_MS = 10_000;

export const describe = () => ({
  name: "__NAME__",
  version: "0.1.0", // both as in plugin.toml
  summary: "Tells whoever listens that the project goes away",
});

export function beforeDelete(_context) {
  report("saying goodbye");
  try {
    execute("db", "postgres", "notify project, 'deleted'", DEADLINE_MS);
  } catch ({ payload: error }) {
    // A paused project is deleted too, and an error would hold that up.
    if (error.tag === "refused") return "the database does not run: nobody to tell";
    throw { tag: "failed", val: error.val };
  }
  return "whoever listens on the channel `project` was told";
}
