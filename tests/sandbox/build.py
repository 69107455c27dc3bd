#!/usr/bin/env python3
"""Builds the sandbox images from images.toml and hands them to the engine as one archive.

Why no Dockerfiles: the images differ in a few files each, share their layers, and must come out byte for byte the
same from the same sources, so that "up to date" can be decided by a hash. An image archive is a tar of tars, and
`docker load` takes it on every engine, with or without a builder.
"""

import argparse
import concurrent.futures
import hashlib
import io
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
LABEL = "io.supamanager.sandbox.content"
# Reading an archive of half a gigabyte takes an engine 10-20 s here.
LOAD_DEADLINE_S = 600

PROGRAM = """#!/usr/bin/python3
import runpy, sys
sys.path.insert(0, "/sandbox")
sys.argv[:1] = ["standin", "{name}"]
runpy.run_module("standin", run_name="__main__")
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--force", action="store_true", help="build even when the engine has these images")
    force = arguments.parse_args().force
    with open(HERE / "images.toml", "rb") as file:
        plan = completed(tomllib.load(file))
    content = content_hash()
    wanted = references(plan)
    if not force and up_to_date(wanted, content):
        print(f"sandbox images: up to date ({len(wanted)} images, content {content[:12]})")
        return
    begun = time.monotonic()
    packages()
    # Side by side: each of them waits for a mirror or for a disk half of the time.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        roots = {name: pool.submit(root_tar, name, root) for name, root in plan["roots"].items()}
        node = pool.submit(node_tar)
    roots, node = {name: root.result() for name, root in roots.items()}, node.result()
    with tempfile.TemporaryDirectory(prefix="sandbox-images.") as folder:
        archive = Path(folder) / "images.tar"
        write_archive(archive, plan, roots, node, content)
        load(archive)
    if not up_to_date(wanted, content):
        sys.exit("build.py: the engine took the archive, but does not list every image; look at `docker images`")
    print(f"sandbox images: {len(wanted)} built in {time.monotonic() - begun:.0f} s (content {content[:12]})")


def completed(plan):
    """With every image's own table, where it said that it is `like` another."""
    images = plan["images"]
    return {**plan, "images": {name: {**images.get(image.get("like"), {}), **image} for name, image in images.items()}}


def references(plan):
    names = []
    for name, image in plan["images"].items():
        names.append(f"{plan['prefix']}/{name}:{plan['tag']}")
        names += [f"{plan['prefix']}/{name}-{fault}:{plan['tag']}" for fault in image.get("faults", [])]
    return names


def content_hash():
    """Everything that ends in an image."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def sources():
    folders = [HERE / name for name in ("standin", "contractlib", "contract", "roots", "meta")]
    found = [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    return sorted([*found, HERE / "images.toml", HERE / "build.py"])


def up_to_date(wanted, content):
    done = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", *wanted],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    rows = [json.loads(line) or {} for line in done.stdout.splitlines() if line]
    return done.returncode == 0 and len(rows) == len(wanted) and all(row.get(LABEL) == content for row in rows)


def packages():
    needed = [name for name in ("debootstrap", "npm") if shutil.which(name) is None]
    if needed:
        done = subprocess.run([str(HERE.parent / "setup" / "packages.sh"), *needed], check=False)
        if done.returncode != 0:
            sys.exit(done.returncode)


def cache():
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "supamanager-sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(kind, key, make):
    """A file of the cache by the hash of what made it; older ones of the same kind go."""
    target = cache() / f"{kind}-{hashlib.sha256(key).hexdigest()[:16]}.tar"
    if not target.exists():
        for old in cache().glob(f"{kind}-*.tar"):
            old.unlink()
        make(target)
    return target


def root_tar(name, root):
    script = HERE / "roots" / "debian-root.sh"
    key = script.read_bytes() + json.dumps(root, sort_keys=True).encode()

    def make(target):
        print(f"sandbox images: making the {name} root, about a minute", flush=True)
        done = subprocess.run([str(script), root["suite"], str(target), root["then"], *root["packages"]], check=False)
        if done.returncode != 0:
            sys.exit(done.returncode)

    return cached(f"root-{name}", key, make)


def node_tar():
    """The real postgres-meta and what it depends on, exactly as locked."""
    lock = HERE / "meta" / "package-lock.json"

    def make(target):
        print("sandbox images: fetching postgres-meta with npm", flush=True)
        with tempfile.TemporaryDirectory(prefix="sandbox-meta.") as folder:
            for name in ("package.json", "package-lock.json"):
                (Path(folder) / name).write_bytes((HERE / "meta" / name).read_bytes())
            done = subprocess.run(
                ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            if done.returncode != 0:
                sys.exit(f"build.py: npm could not fetch postgres-meta: {done.stderr.strip()[-800:]}")
            layer = Layer()
            for path in sorted(Path(folder).rglob("*")):
                # Maps and browser builds are two thirds of it and are never read.
                if path.is_symlink() or path.suffix == ".map" or "/umd/" in str(path):
                    continue
                layer.add(
                    "/usr/src/app/" + str(path.relative_to(folder)), path.read_bytes() if path.is_file() else None
                )
            target.with_suffix(".part").write_bytes(layer.bytes())
            target.with_suffix(".part").rename(target)

    return cached("node", lock.read_bytes() + Path(__file__).read_bytes(), make)


class Layer:
    """A tar that comes out the same from the same files: sorted, no times, owned by root."""

    def __init__(self):
        self.entries = {}

    def add(self, path, data, mode=0o644):
        self.entries[path.strip("/")] = (data, mode if data is not None else 0o755)
        parent = os.path.dirname(path.strip("/"))
        while parent and parent not in self.entries:
            self.entries[parent] = (None, 0o755)
            parent = os.path.dirname(parent)

    def without(self, tool):
        """A whiteout: hides a file of the layers below."""
        self.add(f"/usr/bin/.wh.{tool}", b"")

    def bytes(self):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(self.entries):
                data, mode = self.entries[path]
                info = tarfile.TarInfo(path)
                info.mode = mode
                info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
                info.size = len(data or b"")
                tar.addfile(info, io.BytesIO(data or b""))
        return buffer.getvalue()


def shared_layer():
    layer = Layer()
    for folder in ("standin", "contractlib", "contract"):
        for path in sorted((HERE / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                layer.add(f"/sandbox/{path.relative_to(HERE)}", path.read_bytes())
                add_compiled(layer, path)
    return layer


def add_compiled(layer, path):
    """The compiled module beside its source, for the Python of the bookworm root (3.11) when this one is the same."""
    if path.suffix != ".py" or sys.version_info[:2] != (3, 11):
        return
    target = f"/sandbox/{path.relative_to(HERE)}"
    with tempfile.NamedTemporaryFile() as file:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(path), file.name, dfile=target, doraise=True, invalidation_mode=mode)
        folder, name = os.path.split(target)
        layer.add(f"{folder}/__pycache__/{name[:-3]}.cpython-311.pyc", Path(file.name).read_bytes())


def own_layer(image):
    layer = Layer()
    for path, name in image.get("programs", {}).items():
        layer.add(path, PROGRAM.format(name=name).encode(), 0o755)
    for path, text in image.get("scripts", {}).items():
        layer.add(path, text.lstrip("\n").encode(), 0o755)
    for path, text in image.get("files", {}).items():
        layer.add(path, text.encode())
    for source, target in image.get("copies", {}).items():
        for path in sorted((HERE / source).iterdir()):
            layer.add(f"{target}/{path.name}", path.read_bytes())
    for tool in image.get("without", []):
        layer.without(tool)
    return layer


def write_archive(archive, plan, roots, node, content):
    with tarfile.open(archive, "w") as tar:
        digests = {name: add_file(tar, path) for name, path in roots.items()}
        digests["node"] = add_file(tar, node)
        digests["shared"] = add_bytes(tar, shared_layer().bytes())
        manifest = []
        for name, image in plan["images"].items():
            layers = [digests[image["root"]], digests["shared"]]
            if image.get("node_package"):
                layers.insert(1, digests["node"])
            layers.append(add_bytes(tar, own_layer(image).bytes()))
            variants = {name: None, **{f"{name}-{fault}": plan["faults"][fault] for fault in image.get("faults", [])}}
            for variant, fault in variants.items():
                config = json.dumps(image_config(image, layers, fault, content), sort_keys=True).encode()
                config_name = hashlib.sha256(config).hexdigest() + ".json"
                add_bytes(tar, config, config_name)
                manifest.append(
                    {
                        "Config": config_name,
                        "RepoTags": [f"{plan['prefix']}/{variant}:{plan['tag']}"],
                        "Layers": [f"{digest}/layer.tar" for digest in layers],
                    }
                )
        add_bytes(tar, json.dumps(manifest).encode(), "manifest.json")


def image_config(image, layers, fault, content):
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **image.get("environment", {}),
    }
    if fault:
        environment["SANDBOX_FAULT"] = fault
    config = {
        "Env": [f"{key}={value}" for key, value in sorted(environment.items())],
        "Cmd": image.get("command"),
        "Entrypoint": image.get("entrypoint"),
        "User": image.get("user", ""),
        "WorkingDir": image.get("directory", "/"),
        "Labels": {LABEL: content},
    }
    if "stop_signal" in image:
        config["StopSignal"] = image["stop_signal"]
    if "health" in image:
        health = image["health"]
        config["Healthcheck"] = {
            "Test": health["test"],
            "Interval": health["interval_s"] * 10**9,
            "Timeout": health["timeout_s"] * 10**9,
            "Retries": health["retries"],
        }
    return {
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layers]},
    }


def architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def add_file(tar, path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    name = f"{digest.hexdigest()}/layer.tar"
    if name not in tar.getnames():
        tar.add(path, name)
    return digest.hexdigest()


def add_bytes(tar, data, name=None):
    digest = hashlib.sha256(data).hexdigest()
    name = name or f"{digest}/layer.tar"
    if name not in tar.getnames():
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return digest


def load(archive):
    print(f"sandbox images: loading {archive.stat().st_size >> 20} MB into the engine", flush=True)
    with open(archive, "rb") as file:
        done = subprocess.run(
            ["docker", "load", "--quiet"],
            stdin=file,
            capture_output=True,
            text=True,
            timeout=LOAD_DEADLINE_S,
            check=False,
        )
    if done.returncode != 0:
        sys.exit(f"build.py: docker load failed: {done.stderr.strip()[-800:]}")


if __name__ == "__main__":
    main()
