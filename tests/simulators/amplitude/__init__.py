"""Amplitude on this machine: what it takes, refuses and throttles, by its public documentation.

The rules are plain functions over plain data (``wire``, ``rules``, ``throttle``, ``store``,
``faults``; for the dashboard's half ``segmentation``, ``cohorts``, ``deletions``); ``app`` and
``rest_app`` carry them over HTTP and ``control`` is the way to set state and to read what was
taken. It stands alone: it is started as a process and imports nothing of what it tests.
"""
