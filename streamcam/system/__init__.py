"""The operating system: processes, threads, streams, files and network addresses."""
