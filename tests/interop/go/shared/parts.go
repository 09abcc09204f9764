package main

import (
	natsbroker "go-micro.dev/v6/broker/nats"

	"go-micro.dev/v6/broker"
	"go-micro.dev/v6/registry"
	natsregistry "go-micro.dev/v6/registry/nats"
	"go-micro.dev/v6/selector"
	"go-micro.dev/v6/transport"
	natstransport "go-micro.dev/v6/transport/nats"
)

// newWiring uses the NATS parts of go-micro itself, which it has since v5.7.
func newWiring(address string) *wiring {
	r := natsregistry.NewNatsRegistry(registry.Addrs(address))
	return &wiring{
		transport: natstransport.NewTransport(transport.Addrs(address)),
		broker:    natsbroker.NewNatsBroker(broker.Addrs(address)),
		registry:  r,
		selector:  selector.NewSelector(selector.Registry(r)),
	}
}
