"""A real small language model on this machine: `weights`, `process` (a child running `server`), `cut` replicas.

Nothing is imported here, so that a child process is up in a tenth of a second.
"""
