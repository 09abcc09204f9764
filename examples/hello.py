"""The smallest service. `python examples/hello.py --transport-address 127.0.0.1:4222` runs it."""

from micro import Service

service = Service("greeter")


@service.handler
async def hello(name: str) -> str:
    """Greet a person: `Greeter.Hello`."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    service.run()
