"""What is kept of what happens: metrics, decisions, logs."""
