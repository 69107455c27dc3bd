"""Tests of the design document's own tables and numbers against the data that the daemon really reads.

Why beside the engine tests: those run on the sandbox images and on port ranges of their own, so that a wrong default
would not show there. Each function is a test; `check.py` runs them all.
"""

import re
import tomllib
from pathlib import Path

import extract

ROOT = Path(__file__).resolve().parents[2]


def _toml(path):
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def _services():
    """service -> (image, port or None), from the document's table."""
    row = re.compile(r"\| \*\*(\w+)\*\* \| (\S+) \| (\d+|-) \|")
    rows = [row.match(line).groups() for line in extract.document().splitlines() if row.match(line)]
    return {name: (image, None if port == "-" else int(port)) for name, image, port in rows}


def _default(section, key):
    """A default of the configuration, from the struct's own `Default`."""
    text = (ROOT / "daemon/src/config.rs").read_text(encoding="utf-8")
    body = text.split(f"impl Default for {section} {{", 1)[1].split("\n}\n", 1)[0]
    return re.search(rf'\b{key}: "([^"]*)"', body).group(1)


def the_ten_pins_are_the_default_image_set():
    pins = {name: image for name, (image, _) in _services().items()}
    assert len(pins) == 10, f"the document's table has {len(pins)} services"
    name = _default("Config", "image_set")
    images = _toml(f"templates/images/{name}.toml")["images"]
    # One more for the optional service of the template set `studio`.
    assert images.pop("studio").startswith("supabase/studio:"), f"image set {name} has no studio"
    assert images == pins, f"image set {name} is not the document's table"


def the_stack_has_the_designs_services_and_ports():
    found = {service["name"]: service for service in _toml("templates/sets/supabase/set.toml")["service"]}
    wanted = _services()
    assert set(found) == set(wanted), f"services: {sorted(set(found) ^ set(wanted))} differ"
    read = lambda name: (ROOT / "templates/sets/supabase" / name).read_text(encoding="utf-8")
    compose, gateway = read("project-compose.tmpl.yml"), read("kong.tmpl.yml")
    published = {row["service"]: row["container"] for row in _toml("templates/sets/supabase/set.toml")["port"]}
    for name, (_, port) in wanted.items():
        assert re.search(rf"^  {name}:$", compose, re.MULTILINE), f"{name} is not in the Compose template"
        # A probe may ask an admin listener beside the service's own; then it is the gateway that goes there.
        used = port in [None, published.get(name), found[name]["probe"].get("port")] or f"{name}:{port}" in gateway
        assert used, f"{name}: nobody publishes, probes or routes to port {port} of the document"


def the_port_ranges_are_the_defaults():
    for kind, key in [("API", "api"), ("DB", "db"), ("Studio", "studio")]:
        wanted = re.search(rf"\*\*{kind} Ports\*\*: (\d+-\d+)", extract.document()).group(1)
        assert _default("Ports", key) == wanted, f"ports.{key} is {_default('Ports', key)}, the document says {wanted}"
        first, last = map(int, wanted.split("-"))
        assert last - first + 1 == 1000, "a range holds a thousand projects"


def secrets_have_the_designs_sizes():
    secrets = _toml("templates/sets/supabase/set.toml")["secret"]
    size = lambda words: int(re.search(rf"\*\*{words}\*\*: (\d+) bytes", extract.document()).group(1))
    signing = {secret["signed_with"] for secret in secrets if secret["kind"] == "jwt"}
    keys = {secret["name"]: secret["bytes"] for secret in secrets if secret["name"] in signing}
    assert set(keys.values()) == {size("JWT Secret")}, f"tokens are signed with {keys}"
    passwords = {secret["name"]: secret["bytes"] for secret in secrets if "role" in secret}
    assert passwords and set(passwords.values()) == {size("Database Password")}, passwords


def the_template_files_have_the_designs_names():
    wanted = set(re.findall(r"[├└]── (\S+\.tmpl\.yml)", extract.document()))
    folder = ROOT / "templates/sets/supabase"
    missing = [name for name in wanted if not (folder / name).is_file()]
    assert len(wanted) == 3 and not missing, f"{missing} are not in {folder}"


TESTS = [
    the_ten_pins_are_the_default_image_set,
    the_stack_has_the_designs_services_and_ports,
    the_port_ranges_are_the_defaults,
    secrets_have_the_designs_sizes,
    the_template_files_have_the_designs_names,
]
