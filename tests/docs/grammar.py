"""What each program that pages call takes, asked of the program itself where it can be had.

``sluice`` is parsed by its own parser, ``kubectl`` by the real one (which reads its words before it
looks at ``--help``), ``curl`` by the API description, ``make`` by the Makefile. Docker, kind and
gcloud are not here when tests run: the options that we show are written down here, after their own
help or manual, so that a slip of the pen is found and an option that they drop is not.
"""

import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from functools import cache
from importlib.util import find_spec
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Final

import typer
from typer.core import TyperCommand, TyperGroup

from loadtest.command_line import parser
from sluice.cli.command_line import build_app
from tests.docs.api import refused_request
from tests.docs.pages import ROOT
from tests.docs.shell import INNER, Command
from tests.k8s.cluster import kubectl

RECORDED: Final[Mapping[str, frozenset[str]]] = {
    # Docker 28.2
    "docker build": frozenset({"--build-arg", "--secret", "--target", "-t", "--push"}),
    "docker run": frozenset(
        {"--name", "--read-only", "--cap-drop", "--security-opt", "--tmpfs", "-v", "-p", "--rm",
         "-d", "-i", "--restart", "--memory", "--entrypoint"}
    ),
    "docker exec": frozenset({"-i"}),
    "docker inspect": frozenset({"--format"}),
    "docker logs": frozenset({"-f", "--since"}),
    "docker push": frozenset(),
    "docker tag": frozenset(),
    "docker stats": frozenset({"--no-stream"}),
    "docker start": frozenset(),
    "docker stop": frozenset(),
    "docker rm": frozenset(),
    # Docker Compose 2; `make image-test` has it read compose.yaml itself
    "docker compose up": frozenset({"--build", "--wait", "-d", "--scale"}),
    "docker compose run": frozenset({"--rm"}),
    "docker compose exec": frozenset(),
    "docker compose logs": frozenset({"-f", "--since"}),
    "docker compose restart": frozenset(),
    "docker compose stop": frozenset(),
    "docker compose start": frozenset(),
    "docker compose down": frozenset(),
    "docker compose ps": frozenset(),
    # kind 0.30
    "kind create cluster": frozenset({"--config", "--name"}),
    "kind load docker-image": frozenset({"--name"}),
    "kind delete cluster": frozenset({"--name"}),
    # Google Cloud SDK 528
    "gcloud config set": frozenset(),
    "gcloud projects describe": frozenset({"--format"}),
    "gcloud services enable": frozenset(),
    "gcloud beta services identity create": frozenset({"--service"}),
    "gcloud auth application-default login": frozenset(),
    "gcloud auth configure-docker": frozenset(),
    "gcloud pubsub topics create": frozenset({"--message-retention-duration"}),
    "gcloud pubsub topics update": frozenset({"--message-retention-duration"}),
    "gcloud pubsub topics describe": frozenset(),
    "gcloud pubsub topics add-iam-policy-binding": frozenset({"--role", "--member"}),
    "gcloud pubsub subscriptions add-iam-policy-binding": frozenset({"--role", "--member"}),
    "gcloud pubsub subscriptions create": frozenset(
        {"--topic", "--ack-deadline", "--message-retention-duration", "--expiration-period",
         "--dead-letter-topic", "--max-delivery-attempts"}
    ),
    "gcloud pubsub subscriptions seek": frozenset({"--time", "--snapshot"}),
    "gcloud pubsub subscriptions update": frozenset({"--message-retention-duration"}),
    "gcloud pubsub subscriptions describe": frozenset({"--format"}),
    "gcloud iam service-accounts create": frozenset(),
    "gcloud iam service-accounts add-iam-policy-binding": frozenset({"--role", "--member"}),
    # Locust 2.47
    "locust": frozenset({"-f", "--headless", "-u", "-r", "-t", "--host"}),
    "pip install": frozenset(),
    "gcloud secrets create": frozenset({"--data-file", "--replication-policy"}),
    "gcloud secrets versions add": frozenset({"--data-file"}),
    "gcloud secrets versions access": frozenset({"--secret"}),
    "gcloud secrets add-iam-policy-binding": frozenset({"--role", "--member"}),
    "gcloud projects add-iam-policy-binding": frozenset({"--role", "--member", "--condition"}),
    "gcloud container clusters create": frozenset(
        {"--region", "--workload-pool", "--enable-dataplane-v2", "--gateway-api", "--addons",
         "--cluster-version", "--machine-type", "--num-nodes", "--enable-autoscaling",
         "--min-nodes", "--max-nodes"}
    ),
    "gcloud container clusters get-credentials": frozenset({"--region"}),
    "gcloud artifacts repositories create": frozenset({"--repository-format", "--location"}),
    "gcloud artifacts repositories add-iam-policy-binding": frozenset(
        {"--location", "--role", "--member"}
    ),
    "gcloud certificate-manager dns-authorizations create": frozenset({"--domain"}),
    "gcloud certificate-manager dns-authorizations describe": frozenset(),
    "gcloud certificate-manager certificates create": frozenset(
        {"--domains", "--dns-authorizations"}
    ),
    "gcloud certificate-manager maps create": frozenset(),
    "gcloud certificate-manager maps entries create": frozenset(
        {"--map", "--certificates", "--hostname"}
    ),
}  # fmt: skip
"""The options of programs that tests do not have."""
NOT_HERE: Final = frozenset({"docker", "kind", "gcloud", "kubectl"})
"""Programs that need an engine, a cluster or an account; what calls one is only parsed."""
PLAIN: Final = frozenset(
    {"cp", "mkdir", "export", "cat", "sed", "sh", "openssl", "git", "printf", "sha256sum", "echo",
     "cd", "head", "date", "test", "rm", "mv", "grep", "df", "ss", "awk", "sort", "uniq", "tail",
     "fuser", "find", "sleep", "umask"}
)  # fmt: skip
"""Programs of every machine, whose words are not looked at."""
_FLAG: Final = re.compile(r"--?[a-zA-Z][\w-]*")
_TARGET: Final = re.compile(r"^([a-z-]+):", re.MULTILINE)


def refused(command: Command) -> str:
    """Return what is wrong with a command of a page; empty: nothing."""
    judge = _JUDGES.get(command.program)
    if judge is not None:
        return judge(command.words)
    if command.program in PLAIN or command.program == "":
        return ""
    return (
        f"no test knows the program {command.program!r}: add it to tests/docs/grammar.py, with its"
        " options if it cannot be run there"
    )


def _sluice(words: tuple[str, ...]) -> str:
    if {"--help", "-h", "--version"} & set(words):
        words = tuple(word for word in words if not word.startswith("-"))
        return "" if options_of(words[1:]) is not None else f"there is no `{' '.join(words)}`"
    found, rest = _found(words[1:])
    if not isinstance(found, TyperCommand):
        return f"there is no `{' '.join(words)}`"
    try:
        found.parse_args(typer.Context(found), list(rest))
    except typer.TyperException as error:
        return f"`{' '.join(words)}`: {error.format_message()}"
    return ""


def options_of(words: tuple[str, ...]) -> set[str] | None:
    """Return the options of a command of ``sluice``; None: there is no such command."""
    found, rest = _found(words)
    if isinstance(found, TyperGroup) and rest:
        return None
    return {name for one in found.params for name in (*one.opts, *one.secondary_opts)}


def _found(words: tuple[str, ...]) -> tuple[TyperCommand | TyperGroup, tuple[str, ...]]:
    """Return the command that the words lead to, with the words that are left."""
    current: TyperCommand | TyperGroup = _group()
    for position, word in enumerate(words):
        if not isinstance(current, TyperGroup):
            return current, words[position:]
        found = current.commands.get(word)
        if not isinstance(found, TyperCommand | TyperGroup):
            return current, words[position:]
        current = found
    return current, ()


@cache
def _group() -> TyperGroup:
    made = typer.main.get_command(build_app([]))
    assert isinstance(made, TyperGroup)
    return made


def _loadtest(words: tuple[str, ...]) -> str:
    said = StringIO()
    try:
        with redirect_stderr(said):
            parser().parse_args(list(words[1:]))
    except SystemExit:
        return f"`{' '.join(words)}`: {said.getvalue().strip()}"
    return ""


def _make(words: tuple[str, ...]) -> str:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(_TARGET.findall(makefile))
    for word in words[1:]:
        name, is_variable, _ = word.partition("=")
        known = f"$({name})" in makefile if is_variable else name in targets
        if not known:
            return f"the Makefile has no {name}"
    return ""


def _python(words: tuple[str, ...]) -> str:
    if words[1:2] == ("-c",):
        return ""
    if words[1:2] != ("-m",) or len(words) < 3:
        return "show `python -m MODULE`"
    module = words[2]
    if module in {"pip", "venv", "pytest"}:
        return ""
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        return f"there is no module {module}"
    file = Path(found.origin)
    files = file.parent.rglob("*.py") if file.name == "__init__.py" else [file]
    source = "".join(one.read_text(encoding="utf-8") for one in files)
    for flag in filter(_FLAG.fullmatch, words[3:]):
        if f'"{flag}"' not in source:
            return f"{module} has no option {flag}"
    return ""


def _kubectl(words: tuple[str, ...]) -> str:
    """Kubectl reads all words, and says what it does not know, before it shows its help."""
    given = [word.replace(INNER, "x") for word in words[1:]]
    if "--" in given:  # what follows is the command of a container
        at = given.index("--")
        given, inner = given[:at], given[at + 1 :]
        if inner[:1] == ["sluice"] and inner[1:] != ["…"] and (said := _sluice(tuple(inner))):
            return said
    done = subprocess.run(  # noqa: S603 - kubectl
        [kubectl(), *given, "--help"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"kubectl: {done.stderr.strip().partition(chr(10))[0]}"
    for flag, folder in pairwise(given):
        if flag == "-k" and "…" not in folder and not (ROOT / folder).is_dir():
            return f"kubectl: there is no folder {folder}"
    return ""


def _sh(words: tuple[str, ...]) -> str:
    """A script's words are its own, but for that which takes a command of ours."""
    if words[1:2] != ("k8s/once.sh",):
        return ""
    overlay, *command = words[2:]
    if not (ROOT / overlay).is_dir():
        return f"there is no folder {overlay}"
    return _sluice(("sluice", *command))


def _recorded(words: tuple[str, ...]) -> str:
    words = (words[0].rpartition("/")[2], *words[1:])
    for length in range(len(words), 0, -1):
        options = RECORDED.get(" ".join(words[:length]))
        if options is not None:
            break
    else:
        return f"`{' '.join(words[:4])}` is not recorded in tests/docs/grammar.py"
    for word in words[length:]:
        if word in {"sluice", "cli"} or word.startswith(("sluice-", "sluice:")):
            break  # an image, a container, a service: what follows is its own
        flag = word.partition("=")[0]
        if flag.startswith("-") and flag not in {*options, "-"}:
            return f"`{' '.join(words[:length])}` is recorded without {flag}"
    return ""


_JUDGES: Final[Mapping[str, Callable[[tuple[str, ...]], str]]] = {
    "sluice": _sluice,
    "make": _make,
    "python": _python,
    "python3": _python,
    "kubectl": _kubectl,
    "sh": _sh,
    "docker": _recorded,
    "kind": _recorded,
    "gcloud": _recorded,
    "locust": _recorded,
    "pip": _recorded,
    "sluice-loadtest": _loadtest,
    "curl": refused_request,
}
