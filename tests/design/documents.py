"""Tests of what README.md and ARCHITECTURE.md promise about the code, so that neither goes stale quietly.

Each function is a test; `check.py` runs them all.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def _settings():
    """key -> default, from the structs of the configuration and their `Default`."""
    sections = sorted((ROOT / "daemon/src/config").glob("*.rs"))
    text = _read("daemon/src/config.rs") + "".join(path.read_text(encoding="utf-8") for path in sections)
    keys = {}
    for struct, body in re.findall(r"^pub struct (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        section = "" if struct == "Config" else struct.lower() + "."
        for field, kind in re.findall(r"^    pub (\w+): (\w+)", body, re.MULTILINE):
            if kind not in re.findall(r"^pub struct (\w+)", text, re.MULTILINE):
                value = re.search(rf"impl Default for {struct} \{{.*?\b{field}: ([^,}}]+)", text, re.DOTALL).group(1).strip()
                keys[section + field] = value
    return keys


def the_readme_has_every_setting_with_its_default():
    rows = {cells[0]: cells for cells in re.findall(r"^\| `([\w.]+)` \| `(\w+)` \| ([^|]+) \|", _read("README.md"), re.MULTILINE)}
    settings = _settings()
    assert len(settings) > 30, f"only {len(settings)} settings were found"
    assert set(rows) == set(settings), f"settings: {sorted(set(rows) ^ set(settings))} differ"
    for key, value in settings.items():
        variable = "DOCKER_HOST" if key == "docker_host" else "SUPAMANAGER_" + key.upper().replace(".", "_")
        assert rows[key][1] == variable, f"{key} is set by {variable}"
        shown = rows[key][2].strip("` ")
        quoted, product = re.search(r'"([^"]*)"', value), re.fullmatch(r"(\d+)(?: \* (\d+))?", value)
        if quoted or product:
            default = quoted.group(1) if quoted else str(int(product.group(1)) * int(product.group(2) or 1))
            assert shown == default, f"{key}: the default is {default}, shown is {shown}"
        elif "::new()" in value:
            assert shown in ["empty", "none"], f"{key}: the default is empty, shown is {shown}"


def the_readme_names_every_route():
    # The native dialect alone: the others' routes are their contract's.
    router = _read("daemon/src/http/router.rs").split("MANAGEMENT, management:")[0]
    blocks = re.findall(r'^    "(/\S*)" \{(.*?)(?: \}|\n    \})$', router, re.MULTILINE | re.DOTALL)
    served = {(method.upper(), path) for path, block in blocks for method in re.findall(r"\b(get|post|put|patch|delete) [A-Z]", block)}
    assert len(served) >= 60, f"only {len(served)} routes were found"
    table = re.findall(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/\S*)` \|", _read("README.md"), re.MULTILINE)
    assert len(table) == len(set(table)), "a row is there twice"
    assert set(table) == served, f"{sorted(set(table) ^ served)} differ"


def the_architecture_has_the_table_that_is_enforced():
    source = _read("tests/it/tidy.rs").split("const MODULES", 1)[1].split("\n];", 1)[0].split("= [", 1)[1]
    enforced = {name: re.findall(r'"([\w:]+)"', uses) for name, uses in re.findall(r'\(\s*"(\w+)",\s*&\[(.*?)\]', source, re.DOTALL)}
    section = _read("ARCHITECTURE.md").split("## Who may use whom", 1)[1].split("\n## ", 1)[0]
    shown = {name: re.findall(r"`([\w:]+)`", uses) for name, uses in re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)}
    different = [name for name in {*enforced, *shown} if sorted(enforced.get(name, ["-"])) != sorted(shown.get(name, ["-"]))]
    assert len(enforced) > 15 and not different, f"rows that differ: {different}"


def the_code_map_names_every_module():
    code_map = _read("ARCHITECTURE.md").split("## Code map", 1)[1].split("\n## ", 1)[0]
    modules = {path.name for path in (ROOT / "daemon/src").iterdir()}
    modules -= {name for name in modules if f"{name.removesuffix('.rs')}" in modules and name.endswith(".rs")}
    missing = [name for name in sorted(modules) if not re.search(rf"^    (\S+\.rs )*{re.escape(name)}\b|  {re.escape(name)}\b", code_map, re.MULTILINE)]
    assert not missing, f"{missing} are not in the code map"


def every_test_that_the_architecture_names_exists():
    import check

    named = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+){3,})`", _read("ARCHITECTURE.md")))
    missing = sorted(named - check.tests_that_exist())
    assert len(named) > 15 and not missing, f"ARCHITECTURE.md names tests that do not exist: {missing}"


TESTS = [
    the_readme_has_every_setting_with_its_default,
    the_readme_names_every_route,
    the_architecture_has_the_table_that_is_enforced,
    the_code_map_names_every_module,
    every_test_that_the_architecture_names_exists,
]
