"""Taking kept jobs and feeding pools: the only thing that runs them."""

from millhand.runner.runner import Runner

__all__ = ["Runner"]
