package main

import (
	"github.com/micro/go-micro/v2/debug/service/handler"
	"github.com/micro/go-micro/v2/logger"
	"github.com/micro/go-micro/v2/server"
)

// addDebug raises the log level and adds go-micro's own Debug endpoints, as
// the shared one does for later generations.
func addDebug(srv server.Server, w *wiring) error {
	if err := logger.Init(logger.WithLevel(logger.DebugLevel)); err != nil {
		return err
	}
	return srv.Handle(srv.NewHandler(handler.NewHandler(w.client()), server.InternalHandler(true)))
}
