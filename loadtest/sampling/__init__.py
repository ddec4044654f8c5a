"""`make sampling`: measures head and tail sampling against their promises."""
