package main

import (
	"context"
	"flag"
	"sync"
	"sync/atomic"
	"time"

	"go-micro.dev/v6/client"
)

// calling is one unary call, to be made any number of times.
type calling struct {
	client      client.Client
	service     string
	endpoint    string
	contentType string
	body        any
	ctx         context.Context
}

func call(flags *flag.FlagSet, args []string) error {
	address := addressFlag(flags)
	service := flags.String("service", "greeter", "service `NAME`")
	endpoint := flags.String("endpoint", "Greeter.Hello", "`ENDPOINT` to call")
	text := flags.String("json", "{}", "request `JSON`; the bytes themselves for application/octet-stream")
	contentType := flags.String("content-type", "application/json", "content `TYPE`")
	calls := flags.Int("count", 1, "number of calls")
	concurrency := flags.Int("concurrency", 1, "number of calls at a time")
	timeout := flags.Duration("timeout", 5*time.Second, "request time-out; 0 for the default of go-micro")
	retries := flags.Int("retries", 0, "retries of a call")
	header := headerFlag{}
	flags.Var(header, "header", "request header `KEY=VALUE`, may be repeated")
	flags.Parse(args)

	body, err := encodeBody(*contentType, *text)
	if err != nil {
		return err
	}
	options := []client.Option{client.Retries(*retries)}
	if *timeout > 0 {
		options = append(options, client.RequestTimeout(*timeout))
	}
	w := newWiring(*address)
	c := calling{w.client(options...), *service, *endpoint, *contentType, body, header.context()}
	if *calls > 1 {
		// Fill the selector's cache, lest the look-up counts as a call's time.
		if _, err := w.selector.Select(*service); err != nil {
			return err
		}
		emit(c.repeat(*calls, *concurrency))
		return nil
	}
	reply, err := c.once()
	if err != nil {
		emitError(err)
		return nil
	}
	emit(fields{"result": printable(reply)})
	return nil
}

func (c *calling) once() (any, error) {
	req := c.client.NewRequest(c.service, c.endpoint, c.body, client.WithContentType(c.contentType))
	reply := newReply(c.contentType)
	return reply, c.client.Call(c.ctx, req, reply)
}

// repeat makes many calls and tells their number, errors and duration, and one
// of the errors if there was any.
func (c *calling) repeat(calls, concurrency int) fields {
	var started, failed atomic.Int64
	var sample atomic.Value
	var group sync.WaitGroup
	begin := time.Now()
	for range concurrency {
		group.Add(1)
		go func() {
			defer group.Done()
			for started.Add(1) <= int64(calls) {
				if _, err := c.once(); err != nil {
					failed.Add(1)
					sample.Store(describe(err))
				}
			}
		}()
	}
	group.Wait()
	line := fields{
		"calls":   calls,
		"errors":  failed.Load(),
		"seconds": time.Since(begin).Seconds(),
	}
	if example := sample.Load(); example != nil {
		line["error"] = example
	}
	return line
}
