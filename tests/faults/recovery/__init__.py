"""What is left when a disk is lost, and how all of it comes back: docs/recovery.md as a test."""
