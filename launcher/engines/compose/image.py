"""The image of the containers, how it is built, and the user that they run as."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.engines.compose.docker import Docker
from launcher.engines.compose.file import DOCKERFILE, image, kind
from launcher.errors import UsageError
from launcher.plan.plan import Plan
from launcher.spec.job_source import ROOT


@dataclass(frozen=True)
class Image:
    """An image, and the command that builds it."""

    name: str
    build: Sequence[str]


def image_of(plan: Plan) -> Image:
    """Return the image of this plan's tasks; BASE_IMAGE and BUILD_NETWORK of the environment go into its build."""
    if not (ROOT / DOCKERFILE).exists():
        raise UsageError(f"--on compose builds its image from {DOCKERFILE}, which {ROOT} has not; use a checkout")
    name, build = image(plan), ["--build-arg", f"TENSORFLOW={kind(plan)}"]
    if base := os.environ.get("BASE_IMAGE"):
        build += ["--build-arg", f"BASE_IMAGE={base}"]
    if network := os.environ.get("BUILD_NETWORK"):
        build += ["--network", network]
    return Image(name, ["docker", "build", "--file", str(ROOT / DOCKERFILE), "--tag", name, *build, str(ROOT)])


def owner(docker: Docker) -> tuple[int, int]:
    """Return user and group that the results belong to: those of the user who started the launcher, under sudo too."""
    if docker.rootless:
        return 0, 0  # which is the user, outside the containers
    if os.geteuid() == 0 and "SUDO_UID" in os.environ:
        return int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    return os.getuid(), os.getgid()
