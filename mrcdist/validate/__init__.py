"""Checks of a file against MRC2014."""
