"""The conformance table of reference/segops.md, section 11: one test for each case.

Left out here, with the reason:

- 75 to 85, 88, 89 and 115: the session endpoint, its tokens and CORS come with the public-key
  handshake. 86 and 87 are here, with tokens in the shape that the reference gives them.
- 95: Pub/Sub and the spool in front of it come with that backend.

Elsewhere: 114, 116 and 117 need the official SDKs and are in ``tests/integration/test_sdk.py``.
"""
