"""Run a stream: on air in two processes, or offline over a file."""
