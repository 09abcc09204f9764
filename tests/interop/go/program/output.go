package main

import (
	"encoding/json"
	"os"
	"sync"

	"go-micro.dev/v6/errors"
)

// fields is one line of output.
type fields map[string]any

var (
	output sync.Mutex
	stdout = os.Stdout
)

// redirectLogs keeps standard output to emit: go-micro's logger prints there
// in some generations, whatever its Out option says.
func redirectLogs() {
	os.Stdout = os.Stderr
}

// emit prints one line; handlers call it concurrently.
func emit(line fields) {
	output.Lock()
	defer output.Unlock()
	encoder := json.NewEncoder(stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line); err != nil {
		panic(err)
	}
}

func emitError(err error) {
	emit(fields{"error": describe(err)})
}

// describe takes an error apart. Parse rather than a type assertion, because
// an error that crossed the wire as plain text becomes the detail of code 0.
func describe(err error) fields {
	parsed := errors.Parse(err.Error())
	return fields{
		"id":     parsed.Id,
		"code":   parsed.Code,
		"detail": parsed.Detail,
		"status": parsed.Status,
	}
}
