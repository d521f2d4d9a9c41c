"""One version of one file, on any store."""
