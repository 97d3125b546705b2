"""The sweep: set, settle, record; write and analyse while the next point records; go on after any interruption.

Flow: `axis` says what is stepped and from which side; `plan` what makes two sweeps the same; `order` which
recordings there are, by names that outlive changes of the plan. `loop` moves the devices (`drive`), records, and
hands what is sampled to `finish`, which waits for file and analysis and writes the `journal`. `store` is what the
journal says, `collate` makes arrays of it, `results` is what users get. `attempts` counts what was tried.

Who records is a `recorder`: a run of the source for each point, or (`gapless`) one run, of which points are windows:

    loop: begin -> session -> supervisor (workers/windows): FIFO's time, pipe's content, next publication -> position
    -> splitter (workers/marks): MARK at that position, MARK after so many words -> NAS writer: a file each
    -> supervisor -> loop: the window has ended, the next point may be approached

One folder per sweep:

    plan.json       what is swept, recorded and analysed; replaced only when the sweep is extended
    NAME.bin, …     each recording and its sidecar; the name holds setpoint, direction, repeat and attempt
    journal.jsonl   what happened, a line each, fsynced; the truth. A torn last line is cut off
    results.npz     the arrays, replaced whole from time to time and at the end; made anew from the journal

A recording is *sampled* when its source has ended, and *done* when its file is complete and without loss and its
analysis has run: then, and only then, the journal says ``done``. What was under way when the controller died is
recorded again under the next attempt's number; its file is kept beside, and counted nowhere.
"""
