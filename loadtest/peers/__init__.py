"""Peers that run in the same measurement, so that figures are ratios."""
