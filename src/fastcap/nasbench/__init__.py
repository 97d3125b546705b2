"""Benches: what a destination does to a capture, and how fast the engine is beside others.

Flow of ``bench nas``: `run` starts the `writer` process, the only one that touches the destination. There `load` paces
writes (`offer`) and fsyncs as a capture's writer would, and then writes as much as is taken (`saturation`); each call
is told of. `tally` gathers them, `trace` keeps of them what a `replay` needs: a capture in a model, with the calls'
times for its disk, which names the smallest ring that loses nothing. `judge` says of each rate yes, no or unknown, and
why; `result` puts together what `model` describes; a bench may have `parts`, over a reboot. `picture`, `page` and
`tell` show it; `compare` and `bygone` set several side by side.
"""
