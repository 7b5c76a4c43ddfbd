"""Runs commands as a person does, in processes of their own."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tests.support.stack import environment

TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What it printed for programs."""
        return orjson.loads(self.stdout)

    @property
    def error(self) -> str:
        """Its one line on stderr; more than one fails."""
        assert self.stderr.count("\n") == 1, self
        return self.stderr.removesuffix("\n")


async def run(*words: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ran:
    """Run any program."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env=None if env is None else dict(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def sluice(*words: str, settings: Mapping[str, str], stdin: bytes = b"") -> Ran:
    """Run ``sluice`` with these SLUICE_* variables (without prefix) and no others."""
    return await run(
        sys.executable, "-m", "sluice.cli", *words, env=environment(settings), stdin=stdin
    )
