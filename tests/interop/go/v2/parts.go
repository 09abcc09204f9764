package main

import (
	"github.com/micro/go-micro/v2/broker"
	natsbroker "github.com/micro/go-micro/v2/broker/nats"
	"github.com/micro/go-micro/v2/client/selector"
	"github.com/micro/go-micro/v2/registry"
	"github.com/micro/go-micro/v2/transport"
	natsregistry "github.com/micro/go-plugins/registry/nats/v2"
	natstransport "github.com/micro/go-plugins/transport/nats/v2"
)

// newWiring uses the broker of go-micro itself and the plugins for the rest.
func newWiring(address string) *wiring {
	r := natsregistry.NewRegistry(registry.Addrs(address))
	return &wiring{
		transport: natstransport.NewTransport(transport.Addrs(address)),
		broker:    natsbroker.NewBroker(broker.Addrs(address)),
		registry:  r,
		selector:  selector.NewSelector(selector.Registry(r)),
	}
}
