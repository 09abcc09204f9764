// Command shop is the shop's points service, or its orders service, in Go.
//
//	shop points nats://127.0.0.1:4222
//	shop orders nats://127.0.0.1:4222
//
// Names and shapes are those of the Python services in the folder above.
package main

import (
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/micro/go-micro/v2/broker"
	"github.com/micro/go-micro/v2/broker/nats"
	"github.com/micro/go-micro/v2/client"
	"github.com/micro/go-micro/v2/client/selector"
	"github.com/micro/go-micro/v2/registry"
	"github.com/micro/go-micro/v2/server"
	"github.com/micro/go-micro/v2/transport"
	natsregistry "github.com/micro/go-plugins/registry/nats/v2"
	natstransport "github.com/micro/go-plugins/transport/nats/v2"
)

const topic = "orders.created"

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: shop points|orders nats://host:port")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(name, address string) error {
	t := natstransport.NewTransport(transport.Addrs(address))
	b := nats.NewBroker(broker.Addrs(address))
	r := natsregistry.NewRegistry(registry.Addrs(address))
	srv := server.NewServer(
		server.Name(name), server.Version("1.0.0"),
		server.Transport(t), server.Broker(b), server.Registry(r),
	)
	var err error
	switch name {
	case "points":
		err = addPoints(srv)
	case "orders":
		c := client.NewClient(
			client.Transport(t), client.Broker(b), client.ContentType("application/json"),
			client.Selector(selector.NewSelector(selector.Registry(r))),
		)
		err = srv.Handle(srv.NewHandler(&Orders{client: c}))
	default:
		err = fmt.Errorf("no service %q here", name)
	}
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if err := srv.Start(); err != nil {
		return err
	}
	<-stop
	err = srv.Stop()
	// The registry publishes its deregistration without flushing.
	time.Sleep(100 * time.Millisecond)
	return err
}
