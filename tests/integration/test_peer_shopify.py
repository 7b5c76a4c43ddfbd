"""Our Shopify signatures and those of Shopify's own libraries are the same, in both directions."""

import os
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from random import Random
from typing import Final

import orjson
import pytest

from gateway.sources.shopify_signature import is_signed, sign

FOLDER: Final = Path(__file__).parent.parent / "peers"
PYTHON: Final = Path(sys.prefix) / "peers/bin/python"
LIBRARY: Final = FOLDER / "node_modules/@shopify/shopify-api"
BODIES: Final = 1_000
MIB: Final = 1024 * 1024
SECRETS: Final = ("hush-secret-1", "shpss_0123456789abcdef0123456789abcdef")
ALPHABETS: Final = (
    [chr(code) for code in range(0x20, 0x7F)],
    [chr(code) for code in (*range(0x20), 0x7F, 0xE9, 0x3B1, 0x5546, 0x2028, 0xFEFF, 0x1F600)],
)


def texts() -> list[str]:
    """Any text: empty, of control characters and any script, and of 1 MB."""
    random = Random(5)  # noqa: S311 - a seed, so that a failure comes again
    found = ["", "x" * MIB, "é" * (MIB // 2)]
    while len(found) < BODIES:
        letters = (
            random.choice(ALPHABETS) if random.random() < 0.5 else [*ALPHABETS[0], *ALPHABETS[1]]
        )
        found.append("".join(random.choices(letters, k=random.randrange(300))))
    return found


def ask(words: list[str], folder: Path, lines: list[dict[str, str]]) -> list[list[str]]:
    """Let a library answer for all bodies in one go."""
    file = folder / "given.ndjson"
    # U+2028 ends a line for some readers.
    written = b"\n".join(map(orjson.dumps, lines)).replace("\u2028".encode(), b"\\u2028")
    file.write_bytes(written + b"\n")
    answered = subprocess.run(  # noqa: S603 - our own scripts
        [*words, str(file)], capture_output=True, text=True, check=True, timeout=100
    )
    found = [line.split(" ") for line in answered.stdout.splitlines()]
    assert len(found) == len(lines)
    return found


def need(*, is_there: bool) -> None:
    """Skip a person's run without the library; CI has it."""
    if not is_there and os.environ.get("CI") != "true":
        pytest.skip("the library is not installed; `make test` does that where npm is")
    assert is_there


def test_node_library_takes_what_we_sign_and_we_what_it_signs(tmp_path: Path) -> None:
    need(is_there=LIBRARY.exists() and shutil.which("node") is not None)
    lines = []
    for number, text in enumerate(texts()):
        secret = SECRETS[number % 2]
        signature = sign(text.encode(), secret).decode()
        lines.append({"body": text, "signature": signature, "secret": secret})
        lines.append({"body": text, "signature": signature, "secret": SECRETS[1 - number % 2]})
    for asked, (theirs, verdict) in zip(
        lines, ask(["node", str(FOLDER / "shopify_node.mjs")], tmp_path, lines), strict=True
    ):
        body = asked["body"].encode()
        is_ours = asked["signature"] == sign(body, asked["secret"]).decode()
        # The library refuses an empty body before it looks at the signature.
        assert verdict == ("true" if is_ours and body else "false")
        assert is_signed(theirs, body, SECRETS)
        assert is_signed(theirs, body, [asked["secret"]])
        assert not is_signed(theirs, body + b" ", SECRETS)


def test_python_library_takes_what_we_sign_and_we_what_it_signs(tmp_path: Path) -> None:
    need(is_there=PYTHON.exists())
    lines, bodies = [], []
    for number, text in enumerate(texts()):
        secret = SECRETS[number % 2]
        # The library's own escapes; what it signs is the body here.
        body = f"b={text.replace('%', '%25').replace('&', '%26')}".encode()
        for good in (secret, SECRETS[1 - number % 2]):
            signature = b64decode(sign(body, good)).hex()
            lines.append({"text": text, "signature": signature, "secret": secret})
            bodies.append((body, good == secret))
    answers = ask([str(PYTHON), str(FOLDER / "shopify_python.py")], tmp_path, lines)
    for asked, (body, is_ours), (theirs, verdict) in zip(lines, bodies, answers, strict=True):
        assert verdict == str(is_ours).lower()
        in_base64 = b64encode(bytes.fromhex(theirs)).decode()
        assert is_signed(in_base64, body, [asked["secret"]])
