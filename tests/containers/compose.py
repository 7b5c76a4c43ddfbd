"""compose.yaml as Compose reads it: its JSON schema, and Docker Compose's own parser.

Both come from the package index, in an environment of their own, by hash. Neither needs an engine.
"""

import sys
from pathlib import Path

from tests.containers.build import ROOT
from tests.containers.tools import CheckError, call

LOCK = Path(__file__).with_name("requirements.lock")


def check_compose(folder: Path) -> str:
    """Return what was read.

    Raises:
        CheckError: The file breaks the schema, or Compose refuses it.
    """
    environment = folder / "compose"
    python = environment / "bin" / "python"
    call(sys.executable, "-m", "venv", "--clear", environment)
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
    call(python, "-m", "pip", "install", *options, "-r", LOCK)
    file = ROOT / "compose.yaml"
    schema = ("--builtin-schema", "vendor.compose-spec")
    call(environment / "bin" / "check-jsonschema", *schema, file)

    filled = folder / "filled.env"
    names = [line for line in _example().splitlines() if line and not line.startswith("#")]
    filled.write_text("".join(f"{name}{'0' * 64}\n" for name in names))
    # Its command in bin/ forgets the exit status of the program that it starts.
    ask = (
        "import compose, pathlib; print(pathlib.Path(compose.__file__).with_name('docker-compose'))"
    )
    program = call(python, "-c", ask).strip()
    compose = (program, "--project-directory", ROOT, "--file", file)
    services = call(*compose, "--env-file", filled, "--profile", "*", "config", "--services")
    unfilled = folder / "unfilled.env"
    unfilled.write_text("")
    try:
        call(*compose, "--env-file", unfilled, "config", "--quiet")
    except CheckError as error:
        if "example.env" not in str(error):
            raise
    else:
        message = "compose.yaml starts without its secrets"
        raise CheckError(message)
    version = call(program, "version", "--short").strip()
    return f"{len(services.split())} services, by the schema and by Docker Compose {version}"


def _example() -> str:
    return (ROOT / "ops" / "compose" / "example.env").read_text()
