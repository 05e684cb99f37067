"""What outlives the process: evidence, metrics and the decision log, in SQLite."""
