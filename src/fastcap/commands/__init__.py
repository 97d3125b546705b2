"""The commands of the command line, one module each; `fastcap.commands.root` knows them all by name."""
