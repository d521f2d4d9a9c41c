"""The command line; one module a group of commands."""

from mrcdist.cli.batch import com, mean, virtual
from mrcdist.cli.group import main
from mrcdist.cli.look import explain, info, validate

__all__ = ["main"]

for _command in (info, explain, validate, virtual, mean, com):
    main.add_command(_command)
