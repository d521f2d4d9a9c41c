"""The client's small reads: the files of a dataset, and the auxiliary files next to them."""
