package main

import (
	"flag"
	"time"

	"go-micro.dev/v6/registry"
)

func get(flags *flag.FlagSet, args []string) error {
	address := addressFlag(flags)
	service := flags.String("service", "greeter", "service `NAME`")
	flags.Parse(args)

	found, err := newWiring(*address).registry.GetService(*service)
	return emitServices(found, err)
}

func list(flags *flag.FlagSet, args []string) error {
	address := addressFlag(flags)
	flags.Parse(args)

	found, err := newWiring(*address).registry.ListServices()
	return emitServices(found, err)
}

func emitServices(found []*registry.Service, err error) error {
	if err != nil {
		return err
	}
	for _, service := range found {
		emit(fields{"service": service})
	}
	emit(fields{"event": "end", "count": len(found)})
	return nil
}

func watch(flags *flag.FlagSet, args []string) error {
	address := addressFlag(flags)
	limit := flags.Int("max", 1, "end after this many changes; 0 for no limit")
	timeout := flags.Duration("timeout", 10*time.Second, "end after this time")
	flags.Parse(args)

	watcher, err := newWiring(*address).registry.Watch()
	if err != nil {
		return err
	}
	defer watcher.Stop()
	changes := make(chan *registry.Result)
	go func() {
		for {
			change, err := watcher.Next()
			if err != nil {
				emitError(err)
				return
			}
			changes <- change
		}
	}()
	time.Sleep(settle)
	emit(fields{"event": "ready"})
	follow(changes, *limit, *timeout, func(change *registry.Result) {
		emit(fields{"action": change.Action, "service": change.Service})
	})
	return nil
}
