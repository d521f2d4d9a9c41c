"""Validation of files against MRC2014."""
