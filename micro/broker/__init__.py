"""Brokers: events by topic, to many or to one of a queue group."""

from micro.broker.contract import Broker, Deliver, Delivery, Subscription

__all__ = ["Broker", "Deliver", "Delivery", "Subscription"]
