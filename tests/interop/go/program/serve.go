package main

import (
	"bufio"
	"context"
	"flag"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"go-micro.dev/v6/metadata"
	"go-micro.dev/v6/server"
)

// settle is how long a new subscription gets to reach the NATS server.
// go-micro makes it in the background and does not report when it is there.
const settle = 200 * time.Millisecond

func serve(flags *flag.FlagSet, args []string) error {
	address := addressFlag(flags)
	name := flags.String("name", "greeter", "service `NAME`, also the queue group of the subscriber")
	version := flags.String("version", "1.0.0", "service `VERSION`")
	id := flags.String("id", "id1", "server `ID`; the node is NAME-ID")
	topic := flags.String("topic", "greeter.events", "`TOPIC` to subscribe to")
	interval := flags.Duration("register-interval", 30*time.Second, "`TIME` between registrations")
	debug := flags.Bool("debug", false, "add the Debug endpoints and log at debug level")
	flags.Parse(args)

	w := newWiring(*address)
	srv := server.NewServer(
		server.Name(*name),
		server.Version(*version),
		server.Id(*id),
		server.Transport(w.transport),
		server.Broker(w.broker),
		server.Registry(w.registry),
		server.RegisterInterval(*interval),
	)
	if *debug {
		if err := addDebug(srv, w); err != nil {
			return err
		}
	}
	if err := addHandlers(srv, *name, *topic); err != nil {
		return err
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if err := srv.Start(); err != nil {
		return err
	}
	time.Sleep(settle)
	emit(fields{
		"event":   "ready",
		"address": srv.Options().Address,
		"node":    *name + "-" + *id,
		"name":    *name,
		"version": *version,
	})
	go answer(os.Stdin)
	<-stop
	if err := srv.Stop(); err != nil {
		return err
	}
	// The registry publishes its deregistration without flushing it: a process
	// that ends at once loses it.
	time.Sleep(settle)
	emit(fields{"event": "stopped"})
	return nil
}

func addHandlers(srv server.Server, name, topic string) error {
	for _, object := range []any{&Greeter{id: name}, &Proto{}} {
		if err := srv.Handle(srv.NewHandler(object)); err != nil {
			return err
		}
	}
	received := func(ctx context.Context, req *Req) error {
		md, _ := metadata.FromContext(ctx)
		emit(fields{
			"event":  "received",
			"topic":  topic,
			"name":   req.Name,
			"count":  req.Count,
			"header": md,
		})
		return nil
	}
	return srv.Subscribe(srv.NewSubscriber(topic, received, server.SubscriberQueue(name)))
}

// answer serves the questions that tests ask on standard input. Its end does
// not stop the service.
func answer(input *os.File) {
	for lines := bufio.NewScanner(input); lines.Scan(); {
		if lines.Text() == "goroutines" {
			emit(fields{"event": "goroutines", "count": runtime.NumGoroutine()})
		}
	}
}
