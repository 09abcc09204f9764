"""A shop of four services: catalog, inventory, checkout and fulfilment.

    micro run examples.bazaar.catalog examples.bazaar.inventory \
        examples.bazaar.checkout examples.bazaar.fulfilment

starts a NATS server, unless one listens already, and all services in one process; each of them can
run in processes of its own instead. In a second terminal:

    micro call checkout Checkout.Place \
        '{"customer": "ann", "lines": [{"sku": "tea", "count": 2}]}'
    micro call fulfilment Fulfilment.Status '"<id of the order>"'

`contracts.py` is what the services know of each other. An order is reserved in the inventory, and
then published; the fulfilment ships it and publishes that. Both topics are kept: what is published
while a service is away, or fails, is handled later. What is reserved and was never published goes
back to the shelf. tests/examples/test_bazaar.py tests all of it, without a server.
"""
