package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"go-micro.dev/v6/client"
)

// streaming is an open stream and what to send on it.
type streaming struct {
	stream      client.Stream
	contentType string
	text        string
	items       int
}

func stream(flags *flag.FlagSet, args []string) error {
	address := addressFlag(flags)
	service := flags.String("service", "greeter", "service `NAME`")
	endpoint := flags.String("endpoint", "Greeter.CountSlow", "`ENDPOINT` to call")
	text := flags.String("json", "{}", "`JSON` to send")
	contentType := flags.String("content-type", "application/json", "content `TYPE`")
	items := flags.Int("send", 1, "number of items to send, for client and bidi")
	mode := flags.String("mode", "server", "server: send --json once and receive;\n"+
		"client: send --send items, then receive;\n"+
		"bidi: send --send items, receiving one after each, then close")
	timeout := flags.Duration("timeout", 0, "give up after this time; 0 for never")
	header := headerFlag{}
	flags.Var(header, "header", "request header `KEY=VALUE`, may be repeated")
	flags.Parse(args)

	run := map[string]func(*streaming) error{
		"server": (*streaming).server,
		"client": (*streaming).client,
		"bidi":   (*streaming).bidi,
	}[*mode]
	if run == nil {
		return fmt.Errorf("unknown mode %q", *mode)
	}
	// The server throws the opening body away, so it is an empty message as
	// in generated code.
	opening, err := encodeBody(*contentType, "{}")
	if err != nil {
		return err
	}
	c := newWiring(*address).client(client.Retries(0))
	req := c.NewRequest(*service, *endpoint, opening, client.WithContentType(*contentType), client.StreamingRequest())
	opened, err := c.Stream(header.context(), req)
	if err != nil {
		emitError(err)
		return nil
	}
	if *timeout > 0 {
		// Receiving does not watch the context, so the process has to end.
		time.AfterFunc(*timeout, func() {
			emitError(fmt.Errorf("no end of the stream after %s", *timeout))
			os.Exit(1)
		})
	}
	err = run(&streaming{opened, *contentType, *text, *items})
	opened.Close()
	if err != nil && err != io.EOF {
		emitError(err)
		return nil
	}
	emit(fields{"event": "end"})
	return nil
}

func (s *streaming) server() error {
	if err := s.send(s.text); err != nil {
		return err
	}
	return s.drain()
}

func (s *streaming) client() error {
	for i := range s.items {
		if err := s.sendItem(i); err != nil {
			return err
		}
	}
	return s.drain()
}

func (s *streaming) bidi() error {
	for i := range s.items {
		if err := s.sendItem(i); err != nil {
			return err
		}
		if err := s.receive(); err != nil {
			return err
		}
	}
	return nil
}

// sendItem numbers the name of an item and announces the total in count.
func (s *streaming) sendItem(i int) error {
	var item Req
	if err := json.Unmarshal([]byte(s.text), &item); err != nil {
		return err
	}
	item.Name = fmt.Sprintf("%s %d", item.Name, i)
	item.Count = s.items
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	return s.send(string(text))
}

func (s *streaming) send(text string) error {
	body, err := encodeBody(s.contentType, text)
	if err != nil {
		return err
	}
	return s.stream.Send(body)
}

// drain receives until the stream ends, which is io.EOF.
func (s *streaming) drain() error {
	for {
		if err := s.receive(); err != nil {
			return err
		}
	}
}

func (s *streaming) receive() error {
	item := newReply(s.contentType)
	if err := s.stream.Recv(item); err != nil {
		return err
	}
	emit(fields{"item": printable(item)})
	return nil
}
