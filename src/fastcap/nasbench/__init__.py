"""Benches: what a destination does to a capture, and how fast the engine is beside others.

Flow of ``bench nas``: `run` starts the `writer` process, the only one that touches the destination; it paces
writes and fsyncs as a capture's writer would and tells of each call; `tally` gathers, `model` is the result,
`estimate` says what it means for a ring, `picture`, `page` and `tell` show it.
"""
