"""What is wrong with a dataset: copies, contradictions, leaks, blanks."""
