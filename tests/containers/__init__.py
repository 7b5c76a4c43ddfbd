"""The image, really built and run: ``make image-check``; and the compose file, read by Compose."""
