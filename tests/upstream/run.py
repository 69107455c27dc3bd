"""`make verify-upstream`: whether the stack really runs on the images that the design names."""

import argparse
import os
import platform
import shutil
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

# What talks to the daemon and to the engine is the bench's.
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "bench"))

import engine
import images
import measure
import report
import suite
from daemon import ROOT


def main():
    arguments = argparse.ArgumentParser(description="Runs the engine suite on the design's pins and writes target/upstream/report.md.")
    arguments.add_argument("--image-set", default="supabase", help="a name under templates/images (default supabase, the design's pins)")
    arguments.add_argument("--area", default="stack::", help="which tests of the engine suite (default stack::)")
    chosen = arguments.parse_args()
    if not (ROOT / f"templates/images/{chosen.image_set}.toml").is_file():
        arguments.error(f"--image-set is {chosen.image_set}: there is no templates/images/{chosen.image_set}.toml")
    # A stop from outside is an end like any other: containers and folders go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = ROOT / "target/upstream"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    begun = time.monotonic()
    try:
        fetched = images.fetch(images.read_set(chosen.image_set))
    except images.NotPulled as error:
        print(f"verify-upstream: {error}", file=sys.stderr)
        sys.exit(3)
    print(f"verify-upstream: {len(fetched)} images are here; one create and one delete", flush=True)
    measured = measure.measure(folder, chosen.image_set)
    print(f"verify-upstream: {measured.failure or f'healthy after {measured.create_s:.0f} s'}; the engine suite", flush=True)
    ran = suite.run(chosen.image_set, folder / "suite.log", chosen.area)
    facts = [
        ("image set", chosen.image_set),
        ("when", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("engine", engine.about()),
        ("host", f"{os.cpu_count()} cores, Linux {platform.release()}"),
        ("took", f"{(time.monotonic() - begun) / 60:.0f} minutes"),
    ]
    text, passed = report.write(facts, fetched, ran, measured)
    (folder / "report.md").write_text(text)
    print(f"verify-upstream: {'passed' if passed else 'FAILED'}; report: target/upstream/report.md")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
