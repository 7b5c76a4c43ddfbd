"""Our signatures and those of the libraries that senders and receivers use are the same."""

import subprocess
import time
from base64 import b64encode
from random import Random

from gateway.core.source import Caller
from gateway.sources.standard_webhooks import SOURCE, sign
from sluice.core.tenant import Directory, Tenant
from tests.peers.clients import FOLDER, PYTHON
from tests.unit.gateway.arrivals import arrival

BODIES = 100
BIG_BYTES = 100_000


def bodies(random: Random) -> list[bytes]:
    """Objects with text of any script, as the libraries insist on JSON; one is big, one empty."""
    letters = [chr(code) for code in (*range(0x20, 0x7F), 0xE9, 0x3B1, 0x5546, 0x1F600)]
    texts = ["".join(random.choices(letters, k=random.randrange(200))) for _ in range(BODIES)]
    texts += ["x" * BIG_BYTES, ""]
    escaped = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return [b'{"type":"x","data":{"s":"%s"}}' % text.encode() for text in escaped]


def ask(lines: list[str]) -> list[list[str]]:
    answered = subprocess.run(  # noqa: S603 - our own script
        [str(PYTHON), str(FOLDER / "webhooks_python.py")],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [line.split(" ") for line in answered.stdout.splitlines()]


def test_libraries_verify_what_we_sign_and_we_what_they_sign() -> None:
    random = Random(5)  # noqa: S311 - a seed, so that a failure comes again
    secret = "whsec_" + b64encode(random.randbytes(24)).decode()
    other = "whsec_" + b64encode(random.randbytes(24)).decode()
    directory = Directory({"acme": Tenant(slug="acme", webhook_secrets=(other, secret))})
    now = int(time.time())
    given = bodies(random)
    theirs = ask([f"sign {secret} msg_{n} {now} {body.hex()}" for n, body in enumerate(given)])
    checks = []
    for n, (body, signatures) in enumerate(zip(given, theirs, strict=True)):
        ours = "v1," + b64encode(sign(secret, f"msg_{n}", str(now), body)).decode()
        assert signatures == [ours, ours]
        headers = {
            "svix-id": f"msg_{n}",
            "svix-timestamp": str(now),
            "svix-signature": signatures[0],
        }
        path = "/api/ingestion/webhook/{tenant}"
        request = arrival(path, body, headers, tail="acme", now=float(now))
        assert isinstance(SOURCE.authenticate(request, directory), Caller)
        checks.append(f"verify {secret} msg_{n} {now} {ours} {body.hex()}")
        checks.append(f"verify {other} msg_{n} {now} {ours} {body.hex()}")
    verdicts = ask(checks)
    assert verdicts[0::2] == [["good", "good"]] * len(given)
    assert verdicts[1::2] == [["bad", "bad"]] * len(given)
