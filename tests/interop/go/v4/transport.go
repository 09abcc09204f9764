package main

import (
	_ "example.com/peer/registration" // for its effect on later packages
	old "github.com/micro/go-micro/v2/transport"
	natstransport "github.com/micro/go-plugins/transport/nats/v2"
	"go-micro.dev/v4/transport"
)

// adapter is the NATS transport of the second generation behind the interface
// of the fourth. The plugin of the fourth has the same code under other import
// paths, but it could not be verified against the Go checksum database.
type adapter struct {
	old.Transport
	options transport.Options
}

func newTransport(address string) transport.Transport {
	return &adapter{
		Transport: natstransport.NewTransport(old.Addrs(address)),
		options:   transport.Options{Addrs: []string{address}},
	}
}

// Init takes no options: newTransport has set the only one.
func (a *adapter) Init(...transport.Option) error {
	return nil
}

func (a *adapter) Options() transport.Options {
	return a.options
}

// Dial passes the time-out on, the one dial option that the plugin reads.
func (a *adapter) Dial(address string, options ...transport.DialOption) (transport.Client, error) {
	dial := transport.DialOptions{Timeout: transport.DefaultDialTimeout}
	for _, option := range options {
		option(&dial)
	}
	client, err := a.Transport.Dial(address, old.WithTimeout(dial.Timeout))
	if err != nil {
		return nil, err
	}
	return socket{client}, nil
}

// Listen drops the options: the plugin reads none.
func (a *adapter) Listen(address string, _ ...transport.ListenOption) (transport.Listener, error) {
	opened, err := a.Transport.Listen(address)
	if err != nil {
		return nil, err
	}
	return listener{opened}, nil
}

type listener struct {
	old.Listener
}

func (l listener) Accept(handle func(transport.Socket)) error {
	return l.Listener.Accept(func(accepted old.Socket) { handle(socket{accepted}) })
}

// socket converts messages by pointer; the two types have the same fields.
type socket struct {
	old.Socket
}

func (s socket) Recv(message *transport.Message) error {
	return s.Socket.Recv((*old.Message)(message))
}

func (s socket) Send(message *transport.Message) error {
	return s.Socket.Send((*old.Message)(message))
}
