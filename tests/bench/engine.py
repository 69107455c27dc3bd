"""The container engine, seen through its own command line: never through what is being measured."""

import subprocess

# An engine under load answers a listing in seconds, a forced removal within a service's own grace of at most 60 s.
DEADLINE_S = 180


class EngineError(Exception):
    """The engine's own sentence."""


def docker(*arguments):
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=DEADLINE_S)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"docker {arguments[0]} did not end within {DEADLINE_S} s") from error
    if done.returncode != 0:
        raise EngineError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def about():
    return docker("version", "--format", "Docker {{.Server.Version}}, API {{.Server.APIVersion}}, {{.Server.Os}}/{{.Server.Arch}}")


def has_image(reference):
    try:
        docker("image", "inspect", "--format", "{{.Id}}", reference)
    except EngineError:
        return False
    return True


# kind -> how to list and how to remove, in the order in which they can be removed.
KINDS = {
    "container": (["ps", "-aq"], ["rm", "-f", "-v"]),
    "network": (["network", "ls", "-q"], ["network", "rm"]),
    "volume": (["volume", "ls", "-q"], ["volume", "rm"]),
}


def labelled(*labels):
    """Everything that carries one of the labels: {kind: [ids]}, kinds without any left out."""
    found = {}
    for kind, (listing, _) in KINDS.items():
        ids = set()
        for label in labels:
            ids.update(docker(*listing, "--filter", f"label={label}").split())
        if ids:
            found[kind] = sorted(ids)
    return found


def remove(*labels):
    """Removes what `labelled` finds; what that was, as a sentence, or an empty one. Twice, because a request that was
    under way when its sender was stopped may still have made something."""
    removed = {}
    for _ in range(2):
        for kind, ids in labelled(*labels).items():
            docker(*KINDS[kind][1], *ids)
            removed[kind] = removed.get(kind, 0) + len(ids)
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in removed.items())
