"""Results in the formats of other libraries."""
