"""``fastcap``: the group of commands; a command's module is imported when that command is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from fastcap import __version__
from fastcap.errors import ConfigError

# name -> module below fastcap.commands, and what it does in a line; tee and sim are dispatched by fastcap.cli
COMMANDS = {
    "demo": ("demo", "Record from an emulated board to a destination that stalls; verify; draw."),
    "capture": ("capture", "Record from a board, a command, a file or standard input to a file."),
    "tee": ("", "tee(1) with a ring: no output waits for another until it is full."),
    "sim": ("", "The board's emulator, with teststream's flags."),
    "info": ("files", "Tell what a file holds."),
    "verify": ("files", "Compare files with what was captured: size, ledger, checksum."),
    "plot": ("plot", "Draw a file: phase, radius, spectrum, gaps and stalls."),
    "spectrogram": ("spectrogram", "Draw the spectrum of the phase over days of files."),
    "index": ("index", "Make files' indexes, by which long ones open and draw at once."),
    "export": ("export", "Write a file's values as npz, CSV or netCDF."),
    "sweep": ("sweep", "Step devices, record at every point, analyse; resume a sweep."),
    "voa": ("voa", "Read and set an attenuator."),
    "board": ("board", "List boards on the USB bus, clear the red light, switch modes."),
    "bench": ("bench", "Measure a destination: stalls, latencies, the ring it needs; compare, rehearse."),
    "status": ("status", "Show every user's captures, and sessions left behind."),
}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        module = COMMANDS.get(name, ("", ""))[0]
        return getattr(import_module(f"fastcap.commands.{module}"), name) if module else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS:
            ctx.fail(f"there is no command '{args[0]}'; commands: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show a traceback with an error."
)  # fastcap.cli takes it out of the arguments before click sees them
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")

payload_option = click.option(
    "--payload", type=click.Choice(["auto", "8n", "8n+8", "none"]), default="auto",
    help="Where data begin: whether a header's n counts its magic word (8n), or that there is no header; "
    "default auto: as the sidecar, or the header's text, says.",
)  # fmt: skip


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Example:  fastcap capture --config VHF_board_params.ini --to /mnt/nas/run --seconds 30s",
)
@click.version_option(__version__, message="fastcap %(version)s")
@debug_option
def root() -> None:
    """Lossless capture from a fast instrument to a slow network disk."""


def run(args: Sequence[str]) -> int:
    """Run a command.

    Raises
    ------
    ConfigError
        The arguments make no sense.
    """
    if not args:
        with click.Context(root, info_name="fastcap", max_content_width=120) as ctx:
            print(root.get_help(ctx), file=sys.stderr)
        return 2
    try:
        return int(root.main(list(args), prog_name="fastcap", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "fastcap"
        raise ConfigError(f"{error.format_message().rstrip('.')}; see '{command} --help'") from error
    except click.Abort:
        raise KeyboardInterrupt from None
