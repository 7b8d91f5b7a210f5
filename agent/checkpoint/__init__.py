"""State that outlives the process: what is remembered, where, and how it is found again."""
