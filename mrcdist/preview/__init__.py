"""Look at a file by reading a small, stated part of it: pictures, a page for notebooks, a browser.

What to read is decided from numbers alone: `views`, `choose` with `choose_scan` and
`choose_volume`, in `pieces` of the file. What came becomes images and words without more reading:
`panels`, `contrast`, `summary`, `words`. `reading` reads, `looking` does all of it in order,
`figure`, `drawing` and `canvas` draw. `command` is the command line's, `html` what a notebook shows
of a plan, `browser` the interactive one, over the frames of `browsing`.
"""
