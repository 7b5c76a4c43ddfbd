"""The image, really built and run: ``make image-test``; and the compose file, read by Compose."""
