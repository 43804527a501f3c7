"""Both sockets of a page: the lobby's, which learns nothing of the room, and the call's. Each is entered by a single-use ticket."""

from .base import NoSocket
from .call import CallConsumer
from .lobby import LobbyConsumer

__all__ = ["CallConsumer", "LobbyConsumer", "NoSocket"]
