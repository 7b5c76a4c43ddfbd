"""The HTTP edge: validates and stamps events, answers 202 once they are durable."""
