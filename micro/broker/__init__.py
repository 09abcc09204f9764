"""Brokers: events by topic, to many or to one of a queue group."""

from micro.broker.contract import Broker, Deliver, Delivery, PlainDelivery, Subscription

__all__ = ["Broker", "Deliver", "Delivery", "PlainDelivery", "Subscription"]
