"""The images of a set: pulled, and described as the engine has them."""

import json
import subprocess
import time
import tomllib
from dataclasses import dataclass

import engine
from daemon import ROOT

# The largest pin is about 1 GB: 20 minutes is 7 Mbit/s.
PULL_S = 1200
# `make sandbox` builds these; no registry has them.
BUILT = "supamanager-sandbox/"


class NotPulled(Exception):
    """One line: which image, and what the engine said."""


@dataclass
class Image:
    service: str
    reference: str
    digest: str
    size: int
    # Seconds; None when it was built here.
    pulled_s: float | None


def read_set(name):
    with open(ROOT / f"templates/images/{name}.toml", "rb") as file:
        return tomllib.load(file)["images"]


def fetch(images):
    """Pulls every image, the one that tells most cheaply whether a registry answers (the gateway's) first."""
    order = sorted(images.items(), key=lambda item: item[0] != "kong")
    return sorted((fetch_one(service, reference) for service, reference in order), key=lambda image: image.service)


def fetch_one(service, reference):
    begun = time.monotonic()
    if reference.startswith(BUILT):
        if not engine.has_image(reference):
            raise NotPulled(f"{reference} is not on the engine: make sandbox builds it")
        return describe(service, reference, None)
    try:
        done = subprocess.run(["docker", "pull", "--quiet", reference], capture_output=True, text=True, timeout=PULL_S)
    except subprocess.TimeoutExpired as error:
        raise NotPulled(f"{reference} was not pulled within {PULL_S} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotPulled(f"{reference} cannot be pulled here ({said}): run this on a machine with an image registry")
    return describe(service, reference, time.monotonic() - begun)


def describe(service, reference, pulled_s):
    found = json.loads(engine.docker("image", "inspect", reference))[0]
    # A pulled image has the registry's digest; one that was built has an id only.
    digest = next((text.partition("@")[2] for text in found.get("RepoDigests") or []), found["Id"])
    return Image(service, reference, digest, found["Size"], pulled_s)
