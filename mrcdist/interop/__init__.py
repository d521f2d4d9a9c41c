"""The results in other libraries' forms."""
