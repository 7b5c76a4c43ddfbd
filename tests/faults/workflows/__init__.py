"""Workers of workflow runs, killed at every place where something begins or ends."""
