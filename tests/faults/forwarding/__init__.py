"""Everything that Amplitude and a killed worker can do to forwarding, and the oracle's word on it.

Real events go in by the gateway, as clients send them; Amplitude is the simulator, which counts
what it took.
"""
