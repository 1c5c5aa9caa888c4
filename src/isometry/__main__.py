"""`python -m isometry` is the program `isometry`."""

from isometry.cli.main import run

run()
