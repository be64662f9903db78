"""Small programs that do something of use, with pools and with kept jobs."""

__all__: list[str] = []
