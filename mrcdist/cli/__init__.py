"""The command line; one module per group of commands."""

from mrcdist.cli.batch import com, mean, reduce, virtual
from mrcdist.cli.cluster import check_workers, example
from mrcdist.cli.convert import convert
from mrcdist.cli.group import main
from mrcdist.cli.inspect import explain, info, preview, validate

__all__ = ["main"]

for _command in (
    *(info, explain, preview, validate),
    *(reduce, virtual, mean, com),
    *(convert, check_workers, example),
):
    main.add_command(_command)
