package main

import (
	"go-micro.dev/v6/broker"
	"go-micro.dev/v6/client"
	"go-micro.dev/v6/registry"
	"go-micro.dev/v6/selector"
	"go-micro.dev/v6/transport"
)

// wiring is a go-micro process's parts, with nothing set but the address.
// Every generation makes them in its parts.go.
type wiring struct {
	transport transport.Transport
	broker    broker.Broker
	registry  registry.Registry
	selector  selector.Selector
}

// client makes a client. The content type is set because the generations'
// defaults differ. The selector comes before the registry: that option sets
// the registry of the selector then in force, which is first a shared one.
func (w *wiring) client(options ...client.Option) client.Client {
	return client.NewClient(append([]client.Option{
		client.Transport(w.transport),
		client.Broker(w.broker),
		client.Selector(w.selector),
		client.Registry(w.registry),
		client.ContentType("application/json"),
	}, options...)...)
}
