// Refuses projects whose name begins with `tmp-`.

export const describe = () => ({
  name: "__NAME__",
  version: "0.1.0", // both as in plugin.toml
  summary: "Refuses projects whose name begins with tmp-",
});

export function admit(request) {
  const { wanted } = JSON.parse(request);
  // An update that leaves the name alone has none.
  return wanted.name?.startsWith("tmp-")
    ? { tag: "refuse", val: "a name that begins with `tmp-` is for nothing that stays" }
    : { tag: "admit" };
}
