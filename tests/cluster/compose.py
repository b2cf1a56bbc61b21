"""A cluster of docker-compose.yml under a name of its own: started, asked, harmed, removed."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.containers import Container, DockerFailed, docker
from tests.cluster.images import TAG
from tests.short_dirs import short_dir
from tests.system.harness import TOKEN, Client, free_ports

ROOT: Final = Path(__file__).parents[2]
PORTS: Final = ("HTTP_PORT", "GRPC_PORT", "HTTP_PORT_2", "GRPC_PORT_2", "PROMETHEUS_PORT")
UP_S: Final = 240
METRICS: Final = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9100/metrics").read().decode())
"""
LABEL: Final = "com.docker.compose.project"


class Project:
    """One cluster; `left_out` are services whose images cannot be had here."""

    def __init__(
        self, profile: str, secrets: Path, *, left_out: Sequence[str] = (), **more: str
    ) -> None:
        self.name = f"ctest-{uuid.uuid4().hex[:8]}"
        self.left_out = left_out
        self.secrets = secrets
        self.took = 0.0  # seconds until it was healthy
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.env = {
            **os.environ,
            "COMPOSE_ENV_FILES": str(ROOT / ".env.example"),
            "COMPOSE_PROFILES": profile,
            "COMPOSE_PROJECT_NAME": self.name,
            "CONSTELLATION_TAG": TAG,
            "SECRETS_DIR": str(secrets),
            **{name: str(port) for name, port in self.ports.items()},
            **more,
        }
        (secrets / "token").write_text(TOKEN + "\n")
        subprocess.run([ROOT / "deploy/compose/make-secrets"], env=self.env, check=True)

    def __repr__(self) -> str:
        return f"<Project {self.name}>"

    def __getitem__(self, service: str) -> Container:
        """The container of a service, as it is now."""
        return Container(f"{self.name}-{service}-1")

    def compose(self, *arguments: str, seconds: float = UP_S + 60) -> str:
        """Run docker-compose with the settings that are delivered."""
        return run("docker-compose", *arguments, env=self.env, seconds=seconds)

    def up(self, *services: str) -> float:
        """Start it, and return how long it took until all was healthy."""
        began = time.monotonic()
        none = [part for each in self.left_out for part in ("--scale", f"{each}=0")]
        wait = ("--wait", "--wait-timeout", str(UP_S))
        self.compose("up", "-d", "--no-build", "--pull", "never", *wait, *none, *services)
        self.took = time.monotonic() - began
        return self.took

    def down(self) -> None:
        """Remove it with all that it has stored."""
        self.compose("--profile", "*", "down", "-v", "--remove-orphans")

    def services(self) -> list[str]:
        """Return those that the profile runs, but for what is left out."""
        found = self.compose("config", "--services").split()
        return [each for each in found if each not in (*self.left_out, "certs")]

    def left(self) -> dict[str, list[str]]:
        """Return what the engine has of it: containers, networks, volumes."""
        label = f"label={LABEL}={self.name}"
        asked = {"container": ["ps", "-aq"], "network": ["network", "ls", "-q"]}
        asked["volume"] = ["volume", "ls", "-q"]
        found = {kind: docker(*words, "--filter", label) for kind, words in asked.items()}
        return {kind: each.split() for kind, each in found.items() if each}

    def client(self, port: str = "HTTP_PORT") -> Client:
        """Return one that calls an entry from this machine."""
        return Client(self.ports[port])

    def metric(self, service: str, name: str, **labels: str) -> float:
        """Read a metric of a service, summed over what the labels leave open; 0 without answer."""
        try:
            text = self[service].execute("python3", "-c", METRICS)
        except DockerFailed:
            return 0
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if all(each in line for each in wanted)
        )

    def networks(self, service: str) -> Mapping[str, str]:
        """Return its networks, and its address in each."""
        found = self[service].facts["NetworkSettings"]["Networks"]
        return {name: str(each["IPAddress"]) for name, each in found.items()}

    def cut(self, network: str) -> list[str]:
        """Take all services of a colo off its network; return them."""
        said = json.loads(docker("network", "inspect", f"{self.name}_{network}"))[0]
        prefix = f"{self.name}-{network}-"
        names = [str(each["Name"]) for each in said["Containers"].values()]
        mine = [each for each in names if each.startswith(prefix)]
        for each in mine:
            docker("network", "disconnect", "--force", f"{self.name}_{network}", each)
        return [each.removeprefix(f"{self.name}-").removesuffix("-1") for each in mine]

    def heal(self, network: str, services: Sequence[str]) -> None:
        """Put them back, under their names."""
        for each in services:
            full = f"{self.name}_{network}"
            docker("network", "connect", "--alias", each, full, self[each].name)


def run(program: str | Path, *arguments: str, env: Mapping[str, str], seconds: float) -> str:
    """Run a program in the repository's folder, and return what it printed."""
    done = subprocess.run(
        [program, *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        said = f"{done.stdout}{done.stderr[-4000:]}"
        raise DockerFailed(f"{program} {' '.join(arguments)}: {said}")
    return done.stdout


@contextmanager
def project(profile: str, *, left_out: Sequence[str] = (), **more: str) -> Iterator[Project]:
    """Yield one that is not started, and remove all of it in the end."""
    with short_dir() as secrets:
        made = Project(profile, secrets, left_out=left_out, **more)
        try:
            yield made
        finally:
            made.down()
