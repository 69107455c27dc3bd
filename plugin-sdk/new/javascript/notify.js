// Counts the messages of each project and says so in the operator's log.
import { write } from "supamanager:plugin/log@0.1.0";
import { get, set } from "supamanager:plugin/memory@0.1.0";

const HEARD = "heard";

export const describe = () => ({
  name: "__NAME__",
  version: "0.1.0", // both as in plugin.toml
  summary: "Counts the messages of each project",
});

export function notify(_message) {
  try {
    const count = countWith(get(HEARD));
    set(HEARD, new TextEncoder().encode(count));
    write("info", `message ${count} of this project`);
  } catch (thrown) {
    const error = thrown.payload ?? thrown;
    // What is remembered is a project's, and some messages are about none.
    if (error.tag !== "denied") throw { tag: "failed", val: error.val };
  }
}

// With this message; nothing is remembered before the first one.
function countWith(before) {
  const text = before ? new TextDecoder().decode(before) : "0";
  if (!/^[0-9]+$/.test(text)) throw { tag: "failed", val: `\`${HEARD}\` is no number: ${text}` };
  return Number(text) + 1;
}
