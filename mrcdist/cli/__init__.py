"""The command line; one module per group of commands."""

from mrcdist.cli.batch import com, mean, reduce, virtual
from mrcdist.cli.check_workers import check_workers
from mrcdist.cli.convert import convert
from mrcdist.cli.example import example
from mrcdist.cli.group import main
from mrcdist.cli.inspect import explain, info, validate
from mrcdist.cli.preview import preview

__all__ = ["main"]

for _command in (
    *(info, explain, preview, validate),
    *(reduce, virtual, mean, com),
    *(convert, check_workers, example),
):
    main.add_command(_command)
