"""What many projects cost at rest, and what one HTTP probe costs: tests/bench/fleet/, built and run."""

import os
import shlex
import subprocess

from daemon import ROOT

# A fleet of 900 is made by real creates first; before that everything may have to be compiled.
LIMIT_S = 3600
# The development profile with our own crates optimised too: the dependencies are those of every other build.
OPTIMISED = [word for crate in ("supamanager", "supamanager-tests")
             for word in ("--config", f"profile.dev.package.{crate}.opt-level=2")]


def run(projects, seconds, release):
    """The lines it prints, as they come."""
    profile = [] if release else ["--profile", "dev", *OPTIMISED]
    built = "release profile" if release else "development profile, dependencies and our own crates with opt-level 2"
    yield f"built     {built}"
    # All of the workspace: with one package alone, its dependencies would be compiled again with other features.
    command = [*shlex.split(os.environ.get("CARGO", "cargo")), "bench", "--locked", "--workspace", *profile,
               "--bench", "fleet", "--", "--projects", projects, "--seconds", str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            yield line.rstrip()
        if process.wait(timeout=LIMIT_S) != 0:
            raise RuntimeError(f"`{' '.join(command)}` ended with {process.returncode}")
