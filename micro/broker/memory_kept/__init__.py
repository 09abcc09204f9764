"""Kept topics in memory: the reference of `KeptBroker`, with real or virtual time."""

from micro.broker.memory_kept.features import FEATURES
from micro.broker.memory_kept.topic import NewEvent
from micro.broker.memory_kept.topics import KeptTopics

__all__ = ["FEATURES", "KeptTopics", "NewEvent"]
