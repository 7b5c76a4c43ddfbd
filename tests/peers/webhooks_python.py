"""Signs and verifies webhooks with ``standardwebhooks`` and ``svix``, in the peers' environment.

Each line of stdin is ``sign SECRET ID SECONDS HEX`` or ``verify SECRET ID SECONDS SIGNATURE HEX``,
where HEX is the body; each line of stdout has the answer of both libraries.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import standardwebhooks
import svix.webhooks

NAMES = (("webhook", standardwebhooks.Webhook), ("svix", svix.webhooks.Webhook))


def answers(words: list[str]) -> Iterator[str]:
    """Yield what each library says."""
    action, secret, message_id, seconds, *rest = words
    body = bytes.fromhex(rest[-1]).decode()
    for prefix, library in NAMES:
        webhook: Any = library(secret)
        if action == "sign":
            moment = datetime.fromtimestamp(int(seconds), UTC)
            yield webhook.sign(message_id, moment, body).replace(" ", "")
            continue
        headers = {
            f"{prefix}-id": message_id,
            f"{prefix}-timestamp": seconds,
            f"{prefix}-signature": rest[0],
        }
        try:
            webhook.verify(body, headers)
        except standardwebhooks.WebhookVerificationError:
            yield "bad"
        else:
            yield "good"


if __name__ == "__main__":
    for line in sys.stdin:
        print(*answers(line.rstrip("\n").split(" ")))
