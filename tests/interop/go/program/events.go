package main

import (
	"encoding/json"
	"flag"
	"time"

	"go-micro.dev/v6/broker"
	"go-micro.dev/v6/client"
)

func publish(flags *flag.FlagSet, args []string) error {
	address := addressFlag(flags)
	topic := flags.String("topic", "greeter.events", "`TOPIC` to publish to")
	text := flags.String("json", "{}", "event `JSON`")
	contentType := flags.String("content-type", "application/json", "content `TYPE`")
	events := flags.Int("count", 1, "number of events")
	header := headerFlag{}
	flags.Var(header, "header", "event header `KEY=VALUE`, may be repeated")
	flags.Parse(args)

	body, err := encodeBody(*contentType, *text)
	if err != nil {
		return err
	}
	w := newWiring(*address)
	c := w.client()
	for range *events {
		message := c.NewMessage(*topic, body, client.WithMessageContentType(*contentType))
		if err := c.Publish(header.context(), message); err != nil {
			return err
		}
	}
	// Closing the connection flushes what is still buffered.
	if err := w.broker.Disconnect(); err != nil {
		return err
	}
	emit(fields{"event": "published", "count": *events})
	return nil
}

// subscribe uses the broker itself, so that it shows every header, and events
// that a server would drop.
func subscribe(flags *flag.FlagSet, args []string) error {
	address := addressFlag(flags)
	topic := flags.String("topic", "greeter.events", "`TOPIC` to subscribe to, may have wildcards")
	queue := flags.String("queue", "", "queue group `NAME`")
	limit := flags.Int("max", 1, "end after this many events; 0 for no limit")
	timeout := flags.Duration("timeout", 10*time.Second, "end after this time")
	flags.Parse(args)

	w := newWiring(*address)
	if err := w.broker.Connect(); err != nil {
		return err
	}
	received := make(chan broker.Event)
	handler := func(event broker.Event) error {
		received <- event
		return nil
	}
	var options []broker.SubscribeOption
	if *queue != "" {
		options = append(options, broker.Queue(*queue))
	}
	if _, err := w.broker.Subscribe(*topic, handler, options...); err != nil {
		return err
	}
	time.Sleep(settle)
	emit(fields{"event": "ready"})
	follow(received, *limit, *timeout, emitEvent)
	return nil
}

func emitEvent(event broker.Event) {
	message := event.Message()
	var body any = message.Body
	if json.Valid(message.Body) {
		body = json.RawMessage(message.Body)
	}
	emit(fields{"event": "received", "topic": event.Topic(), "header": message.Header, "body": body})
}

// follow prints what a channel brings until the limit or the time is reached.
func follow[T any](source <-chan T, limit int, timeout time.Duration, show func(T)) {
	deadline := time.After(timeout)
	seen := 0
	defer func() { emit(fields{"event": "end", "count": seen}) }()
	for limit == 0 || seen < limit {
		select {
		case item := <-source:
			show(item)
			seen++
		case <-deadline:
			return
		}
	}
}
