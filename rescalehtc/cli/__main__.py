"""`python -m rescalehtc.cli` is the command `rescalehtc`."""

from . import main

main()
