package main

import (
	"go-micro.dev/v6/debug/handler"
	debug "go-micro.dev/v6/debug/proto"
	"go-micro.dev/v6/logger"
	"go-micro.dev/v6/server"
)

// addDebug raises the log level and adds go-micro's own Debug endpoints, not
// advertised, as services of the first two generations have them.
func addDebug(srv server.Server, w *wiring) error {
	if err := logger.Init(logger.WithLevel(logger.DebugLevel)); err != nil {
		return err
	}
	return debug.RegisterDebugHandler(srv, handler.NewHandler(w.client()), server.InternalHandler(true))
}
