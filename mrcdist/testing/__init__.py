"""Synthetic acquisitions and an S3 server, for your own tests.

| module | purpose |
|---|---|
| `acquisition` | write a Direct Electron acquisition: movie, sidecar, scan points, images |
| `sidecar` | the content of its `_info.txt` |
| `movie` | the content of its MRC files; frames that encode their index |
| `specimen` | diffraction patterns of a thin crystal, for the examples in the documentation |
| `server` | a local S3 server that counts requests |
"""
