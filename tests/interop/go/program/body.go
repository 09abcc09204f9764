package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"example.com/peer/greeterpb"
	"go-micro.dev/v6/codec/bytes"
	"go-micro.dev/v6/metadata"
)

// encodeBody turns the text of --json into a request of the content type.
// JSON goes through go-micro's own JSON codec as it is, so any endpoint can be
// called; protobuf needs a type and has only that of Proto.Hello.
func encodeBody(contentType, text string) (any, error) {
	switch {
	case contentType == "application/octet-stream":
		return &bytes.Frame{Data: []byte(text)}, nil
	case !json.Valid([]byte(text)):
		return nil, fmt.Errorf("not JSON: %s", text)
	case strings.Contains(contentType, "proto"):
		var req Req
		if err := json.Unmarshal([]byte(text), &req); err != nil {
			return nil, err
		}
		return &greeterpb.Req{Name: req.Name, Count: int64(req.Count)}, nil
	default:
		return json.RawMessage(text), nil
	}
}

// newReply makes what a reply of the content type is decoded into.
func newReply(contentType string) any {
	switch {
	case contentType == "application/octet-stream":
		return new(bytes.Frame)
	case strings.Contains(contentType, "proto"):
		return new(greeterpb.Rsp)
	default:
		return new(json.RawMessage)
	}
}

// printable gives a reply the form it has in the output: JSON as it came,
// protobuf as the equal JSON, bytes as base64 text.
func printable(reply any) any {
	switch reply := reply.(type) {
	case *bytes.Frame:
		return reply.Data
	case *greeterpb.Rsp:
		return Rsp{Msg: reply.GetMsg()}
	default:
		return reply
	}
}

// headerFlag collects repeated --header KEY=VALUE.
type headerFlag map[string]string

func (h headerFlag) String() string {
	return ""
}

func (h headerFlag) Set(text string) error {
	key, value, found := strings.Cut(text, "=")
	if !found {
		return fmt.Errorf("want KEY=VALUE, got %q", text)
	}
	h[key] = value
	return nil
}

func (h headerFlag) context() context.Context {
	return metadata.NewContext(context.Background(), metadata.Metadata(h))
}
