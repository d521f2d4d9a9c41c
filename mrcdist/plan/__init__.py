"""Pure planning: which byte ranges to read, and how. Opens nothing."""
