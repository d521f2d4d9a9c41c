"""Look at a file by reading a small, stated part of it: pictures, a page for notebooks, a browser.

`views` and `choose` decide what to read from numbers alone, `panels`, `contrast` and `summary` turn
what came to images and words; `reading` is the only one that reads, `drawing`, `figure` and
`browser` the only ones that draw.
"""
