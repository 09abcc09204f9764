// Package registration lets two generations of go-micro live in one binary.
//
// The transport brings the second generation along (see transport.go), and
// both register protobuf messages of the same names, which the protobuf
// runtime answers with a panic. Only look-ups by name could tell the two
// apart, and go-micro makes none.
//
// The policy must be set before the first registration. It is: of packages
// that are ready, Go initializes the one with the least import path first;
// this one needs only os, and example.com sorts before every path involved.
package registration

import "os"

func init() {
	os.Setenv("GOLANG_PROTOBUF_REGISTRATION_CONFLICT", "ignore")
}
