package main

import (
	"go-micro.dev/v6/broker"
	natsbroker "go-micro.dev/v6/broker/nats"
	"go-micro.dev/v6/client"
	"go-micro.dev/v6/debug/handler"
	debug "go-micro.dev/v6/debug/proto"
	"go-micro.dev/v6/logger"
	"go-micro.dev/v6/registry"
	natsregistry "go-micro.dev/v6/registry/nats"
	"go-micro.dev/v6/selector"
	"go-micro.dev/v6/server"
	"go-micro.dev/v6/transport"
	natstransport "go-micro.dev/v6/transport/nats"
)

// generation is the major version of go-micro under test.
const generation = "v6"

// wiring is a go-micro process's parts, with nothing set but the address.
type wiring struct {
	transport transport.Transport
	broker    broker.Broker
	registry  registry.Registry
	selector  selector.Selector
}

func newWiring(address string) *wiring {
	r := natsregistry.NewNatsRegistry(registry.Addrs(address))
	return &wiring{
		transport: natstransport.NewTransport(transport.Addrs(address)),
		broker:    natsbroker.NewNatsBroker(broker.Addrs(address)),
		registry:  r,
		selector:  selector.NewSelector(selector.Registry(r)),
	}
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

// addDebug raises the log level and adds go-micro's own Debug endpoints, not
// advertised, as services of the first two generations have them.
func addDebug(srv server.Server, w *wiring) error {
	if err := logger.Init(logger.WithLevel(logger.DebugLevel)); err != nil {
		return err
	}
	return debug.RegisterDebugHandler(srv, handler.NewHandler(w.client()), server.InternalHandler(true))
}
