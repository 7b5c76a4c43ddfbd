"""Signs and verifies with ShopifyAPI, in the peers' environment.

The library has no webhooks; it signs the parameters of a request, with the same algorithm, in hex,
over text of the form ``name=value``. The file named on the command line has on each line a JSON
object {text, signature, secret}; each line of stdout is the library's own signature of ``b=text``
and whether it takes the given one.
"""

import json  # noqa: TID251 - the peers' environment has no other
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(path: str) -> None:
    """Answer line by line."""
    session: Any = import_module("shopify").Session
    for line in Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        given = json.loads(line)
        session.setup(api_key="key", secret=given["secret"])
        parameters = {"b": given["text"]}
        theirs = session.calculate_hmac(parameters)
        is_good = session.validate_hmac({**parameters, "hmac": given["signature"]})
        sys.stdout.write(f"{theirs} {str(is_good).lower()}\n")


if __name__ == "__main__":
    main(sys.argv[1])
