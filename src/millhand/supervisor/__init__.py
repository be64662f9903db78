"""Keeping the processes of a service alive, in order, and beating for those that run jobs."""

from millhand.supervisor.child import ChildSpec
from millhand.supervisor.lifeline import Lifeline, Message
from millhand.supervisor.supervisor import Supervisor, SupervisorSettings
from millhand.supervisor.wake import Wake

__all__ = ["ChildSpec", "Lifeline", "Message", "Supervisor", "SupervisorSettings", "Wake"]
