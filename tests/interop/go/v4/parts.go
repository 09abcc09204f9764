package main

import (
	natsbroker "github.com/go-micro/plugins/v4/broker/nats"
	natsregistry "github.com/go-micro/plugins/v4/registry/nats"
	"go-micro.dev/v4/broker"
	"go-micro.dev/v4/registry"
	"go-micro.dev/v4/selector"
)

// newWiring uses the plugins of the fourth generation; transport.go says why
// its transport is another.
func newWiring(address string) *wiring {
	r := natsregistry.NewRegistry(registry.Addrs(address))
	return &wiring{
		transport: newTransport(address),
		broker:    natsbroker.NewBroker(broker.Addrs(address)),
		registry:  r,
		selector:  selector.NewSelector(selector.Registry(r)),
	}
}
