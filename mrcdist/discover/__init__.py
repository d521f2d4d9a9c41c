"""The client's small reads: which files there are, and what is beside them."""
