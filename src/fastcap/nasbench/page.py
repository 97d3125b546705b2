"""A bench as a page: one HTML file that needs nothing beside itself."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

from fastcap.nasbench.model import NasBench
from fastcap.nasbench.picture import draw
from fastcap.nasbench.tell import describe
from fastcap.units import format_duration

_STYLE = """body{font:15px/1.45 sans-serif;max-width:1020px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:2px 14px 2px 0;text-align:left;vertical-align:top}
th{font-weight:normal;color:#777}img{max-width:100%}.warning,.error{color:#a02020}"""


def write_page(bench: NasBench, path: str | os.PathLike[str]) -> str:
    """Write the page; return its path. An existing file is replaced."""
    Path(path).write_text(page(bench), encoding="utf-8", errors="replace")  # names may be any bytes
    return os.fspath(path)


def page(bench: NasBench) -> str:
    """Return the page, all text escaped."""
    picture = io.BytesIO()
    draw(bench).savefig(picture, format="png")
    data = base64.b64encode(picture.getvalue()).decode()
    first, *rest = describe(bench)
    title = f"fastcap bench: {bench.directory}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(bench.started[:19].replace('T', ' '))}, {escape(bench.host)}, fastcap {escape(bench.fastcap)}"
        f"<br>{escape(first)}</p>",
        _table(_pairs(rest)),
        f'<p><img alt="latencies, backlog and distribution" src="data:image/png;base64,{data}"></p>',
        _all_stalls(bench),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _pairs(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Take lines of a name in ten columns and what is said of it apart."""
    return ((line[:10].strip(), line[11:]) for line in lines)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (
        f'<tr class="{escape(name)}"><th>{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _all_stalls(bench: NasBench) -> str:
    if not bench.stalls:
        return ""
    rows = (
        f"<tr><td>{escape(format_duration(s.at_s))}</td><td>{escape(format_duration(s.for_s))}"
        f"{' or more' if s.ongoing else ''}</td><td>{escape(s.call)}</td></tr>"
        for s in bench.stalls
    )
    return f"<h2>Every stall</h2><table><tr><th>at</th><th>for</th><th>call</th></tr>{''.join(rows)}</table>"
