"""Arguments that click has no notion of: what follows ``--``, and options whose value may be left out."""

from __future__ import annotations

import click

_PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


class CaptureCommand(click.Command):
    """Takes another command after ``--``, and ``--repeat`` and ``--plot`` with or without a value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the command out, complete what was left out, and let click do the rest."""
        if "--" in args:
            at = args.index("--")
            args, command = args[:at], args[at + 1 :]
            if not command:
                ctx.fail("no command stands after '--'; give a program and its arguments")
            ctx.meta["fastcap.command"] = command
        return super().parse_args(ctx, _completed(args))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Name the command in the usage line, too."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def _completed(args: list[str]) -> list[str]:
    """Join ``--repeat 3`` and ``--plot a.png``; give the bare options an empty value."""
    out: list[str] = []
    i = 0
    while i < len(args):
        following = args[i + 1] if i + 1 < len(args) else ""
        fits = {"--repeat": following.isdecimal(), "--plot": following.lower().endswith(_PICTURES)}
        takes = fits.get(args[i])
        out.append(args[i] if takes is None else f"{args[i]}={following if takes else ''}")
        i += 2 if takes else 1
    return out
