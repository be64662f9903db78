"""The command line: the only place where parts are chosen and the environment is read.

The command is `millhand.cli.main:main`; it is not imported here, so that child processes start without it.
"""

__all__: list[str] = []
