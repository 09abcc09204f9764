package main

import (
	"github.com/micro/go-micro/v2/broker"
	natsbroker "github.com/micro/go-micro/v2/broker/nats"
	"github.com/micro/go-micro/v2/client"
	"github.com/micro/go-micro/v2/client/selector"
	"github.com/micro/go-micro/v2/debug/service/handler"
	"github.com/micro/go-micro/v2/logger"
	"github.com/micro/go-micro/v2/registry"
	"github.com/micro/go-micro/v2/server"
	"github.com/micro/go-micro/v2/transport"
	natsregistry "github.com/micro/go-plugins/registry/nats/v2"
	natstransport "github.com/micro/go-plugins/transport/nats/v2"
)

// generation is the major version of go-micro under test.
const generation = "v2"

// wiring is a go-micro process's parts, with nothing set but the address.
type wiring struct {
	transport transport.Transport
	broker    broker.Broker
	registry  registry.Registry
	selector  selector.Selector
}

func newWiring(address string) *wiring {
	r := natsregistry.NewRegistry(registry.Addrs(address))
	return &wiring{
		transport: natstransport.NewTransport(transport.Addrs(address)),
		broker:    natsbroker.NewBroker(broker.Addrs(address)),
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
	return srv.Handle(srv.NewHandler(handler.NewHandler(w.client()), server.InternalHandler(true)))
}
