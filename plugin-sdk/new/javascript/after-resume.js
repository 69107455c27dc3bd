// Has the API of a resumed project read the schema anew.
import { execute } from "supamanager:plugin/sql@0.1.0";

const DEADLINE_MS = 10_000;

// When to try again after a database that is away or busy.
const RETRY_MS = 2_000n;

export const describe = () => ({
  name: "__NAME__",
  version: "0.1.0", // both as in plugin.toml
  summary: "Has the API read the schema anew",
});

// After a crash it is called once more: a second notification does no harm.
export function afterResume(_context) {
  try {
    execute("db", "postgres", "notify pgrst, 'reload schema'", DEADLINE_MS);
  } catch ({ payload: error }) {
    throw againIfAway(error);
  }
  return "the API reads the schema anew";
}

// `denied` and `failed` are named alike on both sides.
const againIfAway = (error) =>
  ["refused", "timed-out"].includes(error.tag) ? { tag: "retry-after", val: RETRY_MS } : error;
