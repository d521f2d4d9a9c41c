"""Synthetic acquisitions and an S3 server, for tests of your own.

| module | job |
|---|---|
| `acquisition` | write a Direct Electron acquisition: movie, sidecar, scan points, images |
| `sidecar` | the text of its `_info.txt` |
| `movie` | the bytes of its MRC files; frames that carry their own index |
| `specimen` | diffraction patterns of a thin crystal |
| `tilt_series` | tilt series with FEI's or SerialEM's extended header |
| `server` | an S3 server on this machine that counts requests |
"""
