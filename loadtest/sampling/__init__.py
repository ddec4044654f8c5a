"""`make sampling`: head and tail sampling against what they promise."""
