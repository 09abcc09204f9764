// Command peer is go-micro over NATS as a peer of the benchmarks: a server,
// or a client that loads it and prints what it measured as one JSON line.
//
//	peer server --address nats://127.0.0.1:4222
//	peer client --address ... --case unary --concurrency 64 --seconds 2
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"time"
)

const service = "gobench"

// stdout is kept for our own lines: go-micro logs to os.Stdout.
var stdout = os.Stdout

func main() {
	os.Stdout = os.Stderr
	if len(os.Args) < 2 {
		log.Fatal("usage: peer server|client [flags]")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	address := flags.String("address", "nats://127.0.0.1:4222", "`URL` of the NATS server")
	load := load{}
	flags.StringVar(&load.name, "case", "unary", "unary or payload")
	flags.IntVar(&load.concurrency, "concurrency", 1, "calls at a time")
	flags.IntVar(&load.size, "size", 100, "characters of the payload")
	seconds := flags.Float64("seconds", 2, "how long to measure")
	flags.Parse(os.Args[2:])
	load.duration = time.Duration(*seconds * float64(time.Second))

	w := newWiring(*address)
	var err error
	if os.Args[1] == "server" {
		err = serve(w, *address)
	} else {
		err = load.run(w)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func printLine(line string) {
	fmt.Fprintln(stdout, line)
}
