// Healthy is a service that listens on port 80, if its probe is a motto.
import { connect } from "supamanager:plugin/service-tcp@0.1.0";

const PORT = 80;

// Below the five seconds of the whole call, so that a service that does not answer is reported by name.
const DEADLINE_MS = 1000;

export const describe = () => ({
  name: "__NAME__",
  version: "0.1.0", // both as in plugin.toml
  summary: "Healthy is what listens on port 80",
});

export function check(_project, service, spec) {
  if (!spec.includes("motto")) return undefined; // not a probe of ours: the next plugin is asked
  const endpoint = `tcp://${service}:${PORT}`;
  try {
    connect(service, PORT, DEADLINE_MS);
    return { state: "healthy", reason: "", endpoint };
  } catch ({ payload: error }) {
    return { state: "starting", reason: error.val, endpoint };
  }
}
