"""The pure composition: fleet state and the dispatch of one task."""
