"""Workflows as both sides know them: documents, configurations, runs and commands."""
