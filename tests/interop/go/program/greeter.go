package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/peer/greeterpb"
	"go-micro.dev/v6/errors"
	"go-micro.dev/v6/metadata"
	"go-micro.dev/v6/server"
)

// Req is the request of every endpoint but Raw and Proto.Hello.
type Req struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// Rsp is the reply to a Req.
type Rsp struct {
	Msg string `json:"msg"`
}

// Greeter is the handler object; id is the id of the errors it makes.
type Greeter struct {
	id string
}

// Hello greets.
func (g *Greeter) Hello(_ context.Context, req *Req, rsp *Rsp) error {
	rsp.Msg = "Hello " + req.Name
	return nil
}

// Fail answers with a bad request.
func (g *Greeter) Fail(_ context.Context, req *Req, _ *Rsp) error {
	return errors.BadRequest(g.id, "bad name %s", req.Name)
}

// FailWith answers with the code in count and the name as detail.
func (g *Greeter) FailWith(_ context.Context, req *Req, _ *Rsp) error {
	return errors.New(g.id, req.Name, int32(req.Count))
}

// Plain answers with an error that is no go-micro error, so only its text
// goes over the wire.
func (g *Greeter) Plain(_ context.Context, req *Req, _ *Rsp) error {
	return fmt.Errorf("plain error for %s", req.Name)
}

// Panic never answers: go-micro recovers, logs, and sends nothing.
func (g *Greeter) Panic(_ context.Context, req *Req, _ *Rsp) error {
	panic("panic for " + req.Name)
}

// Slow greets after count milliseconds.
func (g *Greeter) Slow(_ context.Context, req *Req, rsp *Rsp) error {
	time.Sleep(time.Duration(req.Count) * time.Millisecond)
	rsp.Msg = "Hello " + req.Name
	return nil
}

// Headers answers with the caller's x-user header. The generations differ in
// the case of metadata keys, so the look-up ignores it.
func (g *Greeter) Headers(ctx context.Context, _ *Req, rsp *Rsp) error {
	md, _ := metadata.FromContext(ctx)
	for key, value := range md {
		if strings.EqualFold(key, "x-user") {
			rsp.Msg = value
		}
	}
	return nil
}

// Raw returns the bytes it got.
func (g *Greeter) Raw(_ context.Context, req *[]byte, rsp *[]byte) error {
	*rsp = append([]byte{}, *req...)
	return nil
}

// Count sends count items as fast as it can. go-micro reuses the buffer of a
// queued item, so some arrive with the text of a later one.
func (g *Greeter) Count(_ context.Context, stream server.Stream) error {
	return count(stream, 0)
}

// CountSlow sends count items with a pause that lets each one leave its buffer.
func (g *Greeter) CountSlow(_ context.Context, stream server.Stream) error {
	return count(stream, 5*time.Millisecond)
}

func count(stream server.Stream, pause time.Duration) error {
	var req Req
	if err := stream.Recv(&req); err != nil {
		return err
	}
	for i := 0; i < req.Count; i++ {
		if err := stream.Send(&Rsp{Msg: fmt.Sprintf("item %d", i)}); err != nil {
			return err
		}
		time.Sleep(pause)
	}
	return nil
}

// Collect reads as many items as the first one announces in count, then
// answers once with their names. It cannot wait for the client to finish,
// because the protocol has no half-close.
func (g *Greeter) Collect(_ context.Context, stream server.Stream) error {
	var names []string
	for total := 1; len(names) < total; {
		var req Req
		if err := stream.Recv(&req); err != nil {
			return err
		}
		if len(names) == 0 {
			total = req.Count
		}
		names = append(names, req.Name)
	}
	return stream.Send(&Rsp{Msg: strings.Join(names, ",")})
}

// Chat echoes until the client closes the stream.
func (g *Greeter) Chat(_ context.Context, stream server.Stream) error {
	for {
		var req Req
		if err := stream.Recv(&req); err != nil {
			// The client closes a stream by ending it; that is no failure.
			return nil
		}
		if err := stream.Send(&Rsp{Msg: "echo " + req.Name}); err != nil {
			return err
		}
	}
}

// Idle sends one item, stays quiet for count seconds, and sends another.
func (g *Greeter) Idle(_ context.Context, stream server.Stream) error {
	var req Req
	if err := stream.Recv(&req); err != nil {
		return err
	}
	if err := stream.Send(&Rsp{Msg: "before"}); err != nil {
		return err
	}
	time.Sleep(time.Duration(req.Count) * time.Second)
	return stream.Send(&Rsp{Msg: "after"})
}

// Proto is the handler object with protobuf messages.
type Proto struct{}

// Hello greets.
func (*Proto) Hello(_ context.Context, req *greeterpb.Req, rsp *greeterpb.Rsp) error {
	rsp.Msg = "Hello " + req.GetName()
	return nil
}
