"""Worker processes: one module each, started as ``python -P -m fastcap.workers.NAME``."""
