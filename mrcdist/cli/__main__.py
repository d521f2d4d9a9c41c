"""`python -m mrcdist.cli`, for use when the `mrcdist` command is not on the path."""

from mrcdist.cli import main

if __name__ == "__main__":
    main(prog_name="mrcdist")
