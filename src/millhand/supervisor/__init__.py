"""Keeping the processes of a service alive, in order, and beating for those that run jobs."""

from millhand.supervisor.child import ChildSpec
from millhand.supervisor.lifeline import PULSE_EVERY, Lifeline, Message
from millhand.supervisor.supervisor import Supervisor, SupervisorSettings
from millhand.supervisor.wake import Wake

__all__ = ["PULSE_EVERY", "ChildSpec", "Lifeline", "Message", "Supervisor", "SupervisorSettings", "Wake"]
