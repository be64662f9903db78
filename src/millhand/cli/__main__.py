"""`python -m millhand.cli`: the same as the `millhand` command."""

from millhand.cli.main import main

main()
