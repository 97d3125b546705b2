"""Handlers of the workers' messages, one method each.

Flow: a worker's message names its recording; its ``op`` names the method. The methods note what was said in the
`Recording` and let the conductor go on from there.
"""

from __future__ import annotations

import os
import time

from fastcap.report import placed, without_file
from fastcap.wire import Message
from fastcap.workers.children import Worker
from fastcap.workers.recording import PREPARING, Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcap.workers.conduct import Conductor


class Dispatcher:
    """Dispatch workers' messages for a conductor."""

    def __init__(self, conductor: Conductor) -> None:
        self.c = conductor

    def dispatch(self, worker: Worker, message: Message) -> None:
        """Act on a worker's message."""
        op = message["op"]
        if op == "realtime":
            self.c.refused = message["refused"]
        if op == ("realtime" if worker.role == "reader" and self.c.opening.get("realtime") else "ready"):
            worker.ready = True  # from now on it reads nothing but the source: its count begins here
            self.c.replacer.ready(worker)
        r = next((r for r in self.c.recordings if r.id == message.get("recording")), None)
        handler = self.on_eof if op == "eof" else getattr(self, f"_on_{op}", None)
        if r is not None and handler is not None:
            handler(r, worker, message)

    def _on_announced(self, r: Recording, worker: Worker, message: Message) -> None:
        self.c.arrived(r, "announced")

    def _on_granted(self, r: Recording, worker: Worker, message: Message) -> None:
        if worker is r.writer:
            r.writer_slot = message["slot"]
            self.c.arrived(r, "granted")
        elif worker is r.analysis:
            self.c.replacer.granted(worker, message["slot"])
            self.c.arrived(r, "analysis")
        else:
            self.c.replacer.granted(worker, message["slot"])
            self.c.arrived(r, f"output{self.c.replacer.output_fds[worker.pid][1]}")

    def _on_dest_ok(self, r: Recording, worker: Worker, message: Message) -> None:
        r.destination_checked = True
        r.destination_device = message["device"]
        self.c.arrived(r, "dest")
        self.c.s.say(
            {
                "op": "destination",
                "recording": r.id,
                "path": message["path"],
                "free_bytes": message["free_bytes"],
            }
        )

    def _on_dest_error(self, r: Recording, worker: Worker, message: Message) -> None:
        r.writer = None
        self.c.fail(r, "SinkError", message["text"])

    def _on_reading(self, r: Recording, worker: Worker, message: Message) -> None:
        if r.state == PREPARING:
            self.c.start_source(r, message)

    def _on_crowded(self, r: Recording, worker: Worker, message: Message) -> None:
        self.c.s.use_whole_ring()

    def on_eof(self, r: Recording, worker: Worker, message: Message) -> None:
        """Note that the reader has come to the end: its counters, and the kernel's count of what it read."""
        if message["error"] and self.c.s.ring_lost():
            return  # that was the error
        r.eof = message
        r.end_state = self.c.s.ring.reader_state()
        count = worker.io_count("rchar")
        r.bytes_read = r.taken_before + count - r.baseline if count is not None and r.taken_known else None
        self.c.s.ring.command()
        self.c.check_sampled(r)

    def _on_header(self, r: Recording, worker: Worker, message: Message) -> None:
        r.take_header(message)
        self.c.s.say({**message, "op": "header"})

    def _on_slip(self, r: Recording, worker: Worker, message: Message) -> None:
        what = "byte" if message["bytes"] == 1 else "bytes"
        lost = f"{message['bytes']} {what} lost about word {message['after_word']}"
        r.slip_trouble = f"{lost}: the words behind are out of step"
        self.c.s.say({"op": "warning", "recording": r.id, "text": r.slip_trouble})

    def _on_log_full(self, r: Recording, worker: Worker, message: Message) -> None:
        self.c.s.say({"op": "warning", "recording": r.id, "text": message["text"]})

    def _on_marked(self, r: Recording, worker: Worker, message: Message) -> None:
        self.c.s.say({**message, "op": "marked"})

    def _on_clock(self, r: Recording, worker: Worker, message: Message) -> None:
        r.clock_sample(message["at_ns"], message["words"])

    def _on_ended(self, r: Recording, worker: Worker, message: Message) -> None:
        r.ended = message
        if message["why"] == "cut" and r.eof is None:
            r.stopped_why = r.stopped_why or "cut"
            self.c.end_source(r)
        self.c.check_sampled(r)

    def _on_so_far(self, r: Recording, worker: Worker, message: Message) -> None:
        r.take_so_far(message["so_far"])

    def _on_segment(self, r: Recording, worker: Worker, message: Message) -> None:
        r.pending_segment = message
        r.sink_works()
        r.written = message["last"]
        self.c.turns.pass_on()
        self.c.commit_if_ready(r)

    def _on_committed(self, r: Recording, worker: Worker, message: Message) -> None:
        index = message["index"]
        if index < r.files_told:  # a writer's successor says it again
            return
        r.files_told = index + 1
        r.files_named.append(message["file"])
        r.sink_works()
        # it may have got another name at the last moment
        done = r.reports[index] = placed(r.reports[index], message["place"], arrived=r.arrived[index])
        done["sink"] |= {"errors": r.errors_of(index), "incidents": r.incidents_of(index)}
        self.c.s.say({"op": "file", "recording": r.id, "path": done["path"], "report": done})

    def _on_renamed(self, r: Recording, worker: Worker, message: Message) -> None:
        names = r.spec["sink"]["names"]
        names["taken"] = {**names.get("taken", {}), str(message["index"]): message["number"]}
        names["plain"] = message["plain"]
        wanted = message["wanted_path"]
        why = "is taken" if message["number"] > 1 else "is a name that the file system there does not take"
        r.name_trouble = f"{wanted} {why}: the file is {message['path']}"
        self.c.s.say({"op": "warning", "recording": r.id, "text": r.name_trouble})

    def _on_finished(self, r: Recording, worker: Worker, message: Message) -> None:
        r.files_done = True
        if r.needs_file and r.analysis is not None:
            self.c.s.tell(r.analysis, {"op": "file", "paths": [report["path"] for report in r.reports]})
        self.c.check_done(r)

    def _on_files_closed(self, r: Recording, worker: Worker, message: Message) -> None:
        r.sink_works()
        for report in r.reports:
            report["path"] = os.path.join(message["directory"], os.path.basename(report["path"]))
        for gone in message["gone"]:
            r.reports[gone["index"]] = without_file(r.reports[gone["index"]], gone["why"])
        r.closed = True
        self.c.check_done(r)

    def _on_sink_ok(self, r: Recording, worker: Worker, message: Message) -> None:
        seconds = r.sink_works()
        if seconds is not None:
            text = (
                f"the destination takes the words again, after {seconds:.1f} s; what the ring held is written"
            )
            self.c.s.say({"op": "warning", "recording": r.id, "text": text})

    def _on_place(self, r: Recording, worker: Worker, message: Message) -> None:
        r.path_trouble = message["text"]
        if r.path_trouble is not None:
            self.c.s.say({"op": "warning", "recording": r.id, "text": r.path_trouble})

    def _on_incident(self, r: Recording, worker: Worker, message: Message) -> None:
        r.take_incident(message["index"], message["text"])
        self.c.s.say({"op": "warning", "recording": r.id, "text": message["text"]})

    def _on_sink_loss(self, r: Recording, worker: Worker, message: Message) -> None:
        r.sink_losses.append({**message["loss"], "at_s": r.since_start_s()})

    def _on_sink_error(self, r: Recording, worker: Worker, message: Message) -> None:
        r.file_seen = message.get("seen", True)
        if r.sink_fails(message["text"], message["index"]):
            self.c.s.say({"op": "warning", "recording": r.id, "text": message["text"]})
        self.c.turns.pass_on()
        if message.get("fatal"):
            self.c.fail(r, "SinkError", message["text"])

    def _on_need_file(self, r: Recording, worker: Worker, message: Message) -> None:
        r.needs_file = True
        if r.spec["sink"] is None:
            self.c.s.tell(worker, {"op": "file", "paths": []})
        elif r.files_done and r.reports:
            self.c.s.tell(worker, {"op": "file", "paths": [report["path"] for report in r.reports]})

    def _on_warning(self, r: Recording, worker: Worker, message: Message) -> None:
        self.c.s.say({"op": "warning", "recording": r.id, "text": message["text"]})

    def _on_live(self, r: Recording, worker: Worker, message: Message) -> None:
        self.c.s.say(message)

    def _on_statistics(self, r: Recording, worker: Worker, message: Message) -> None:
        r.analysis_so_far = {**message, "at_s": time.monotonic()}

    def _on_analysis(self, r: Recording, worker: Worker, message: Message) -> None:
        if worker is not r.analysis:
            return
        r.analysis_result = {**message["result"], "restarts": r.replaced["analysis"]}
        r.analysis_pending = False
        r.analysis = None
        self.c.analysts.append(worker)
        self.c.check_done(r)

    def _on_output(self, r: Recording, worker: Worker, message: Message) -> None:
        self.c.replacer.output_over(worker)
        self.output_ended(r, {k: message[k] for k in ("index", "errno", "error")})

    def output_ended(self, r: Recording, result: Message) -> None:
        """Note how an output ended, and tell the controller."""
        r.output_results.append(result)
        r.outputs_left -= 1
        self.c.s.say({"op": "output", "recording": r.id, **result})
        self.c.check_done(r)
