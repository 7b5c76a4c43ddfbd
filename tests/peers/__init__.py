"""The clients that other systems' users already have."""
