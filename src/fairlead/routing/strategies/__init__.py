"""The six strategies, one file each."""
