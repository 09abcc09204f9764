// Command peer is one end of the interoperability tests: a go-micro service,
// or a client of one, over NATS. Every generation of go-micro has its own
// module with the same sub-commands, flags and output.
//
// Each line on standard output is one JSON object; logs go to standard error.
// The exit status is 0 when the peer could do its work, even if what it has to
// tell is an RPC error, 1 when it could not, and 2 for a wrong command line.
package main

import (
	"flag"
	"fmt"
	"os"
)

const usage = `usage: peer COMMAND [flags]

  serve      run the greeter service until SIGTERM or SIGINT
  call       make one unary call, or --count of them
  stream     open one stream
  publish    publish an event --count times
  subscribe  print the events of a topic
  get        look one service up in the registry
  list       list the services in the registry
  watch      print the changes of the registry

"peer COMMAND -h" lists the flags.
`

var commands = map[string]func(*flag.FlagSet, []string) error{
	"serve":     serve,
	"call":      call,
	"stream":    stream,
	"publish":   publish,
	"subscribe": subscribe,
	"get":       get,
	"list":      list,
	"watch":     watch,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	redirectLogs()
	name := os.Args[1]
	if err := commands[name](flag.NewFlagSet(name, flag.ExitOnError), os.Args[2:]); err != nil {
		emitError(err)
		os.Exit(1)
	}
}

// addressFlag declares the flag that every command has.
func addressFlag(flags *flag.FlagSet) *string {
	return flags.String("address", "nats://127.0.0.1:4222", "`URL` of the NATS server")
}
