package main

import (
	"context"
	"io"
	"os"
	"time"

	"go-micro.dev/v6/server"
)

// settle is how long a new subscription gets to reach the NATS server.
// go-micro makes it in the background and tells no one when it is there.
const settle = 200 * time.Millisecond

// Question asks.
type Question struct {
	Name   string `json:"name"`
	Number int    `json:"number"`
}

// Answer is the reply to a Question.
type Answer struct {
	Name   string `json:"name"`
	Number int    `json:"number"`
}

// Text is echoed.
type Text struct {
	Text string `json:"text"`
}

// Bench is the handler object.
type Bench struct{}

// Ask answers a question.
func (*Bench) Ask(_ context.Context, question *Question, answer *Answer) error {
	answer.Name = question.Name
	answer.Number = question.Number + 1
	return nil
}

// Echo returns the text.
func (*Bench) Echo(_ context.Context, text *Text, echo *Text) error {
	echo.Text = text.Text
	return nil
}

// serve runs until standard input ends.
func serve(w *wiring, address string) error {
	srv := server.NewServer(
		server.Name(service),
		server.Transport(w.transport),
		server.Broker(w.broker),
		server.Registry(w.registry),
	)
	if err := srv.Handle(srv.NewHandler(&Bench{})); err != nil {
		return err
	}
	if err := srv.Start(); err != nil {
		return err
	}
	time.Sleep(settle)
	printLine("ready " + address)
	io.Copy(io.Discard, os.Stdin)
	return srv.Stop()
}
