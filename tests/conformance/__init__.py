"""The conformance table of reference/segops.md, section 11: one test for each case.

Left out here, with the reason:

- 95: Pub/Sub and the spool in front of it come with that backend.

Elsewhere: 114 to 117 need the official SDKs and are in ``tests/integration/test_sdk.py``.
"""
