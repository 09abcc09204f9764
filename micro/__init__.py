"""A microservice framework in the shape of go-micro, at home on NATS."""
