// Makes a schema of its own in the project's database, and takes it back.
import { report } from "supamanager:plugin/progress@0.1.0";
import { execute } from "supamanager:plugin/sql@0.1.0";

const DEADLINE_MS = 10_000;

// When to try again after a database that is away or busy.
const RETRY_MS = 2_000n;

export const describe = () => ({
  name: "__NAME__",
  version: "0.1.0", // both as in plugin.toml
  summary: "Makes a schema of its own in the project's database",
});

// `if not exists`: after a crash it is called once more.
export function run(_context) {
  report("making the schema plugin___NAME_SNAKE__");
  try {
    sql("create schema if not exists plugin___NAME_SNAKE__");
  } catch ({ payload: error }) {
    throw againIfAway(error);
  }
  return { changed: true, summary: "the schema plugin___NAME_SNAKE__ is there" };
}

export function undo(_context, _outcome) {
  try {
    sql("drop schema if exists plugin___NAME_SNAKE__ cascade");
  } catch ({ payload: error }) {
    // The schema goes with a database that is already away.
    if (error.tag !== "refused") throw againIfAway(error);
  }
}

const sql = (statement) => execute("db", "postgres", statement, DEADLINE_MS);

// `denied` and `failed` are named alike on both sides.
const againIfAway = (error) =>
  ["refused", "timed-out"].includes(error.tag) ? { tag: "retry-after", val: RETRY_MS } : error;
