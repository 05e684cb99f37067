"""How good is routing on a table of prompts, models and scores: curves, baselines, intervals."""
