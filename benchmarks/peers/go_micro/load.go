package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go-micro.dev/v6/client"
)

const warmUp = time.Second

// load is closed-loop load: workers that call again once they are answered.
type load struct {
	name        string
	concurrency int
	size        int
	duration    time.Duration
}

type result struct {
	Rate      float64 `json:"rate"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	ClientCPU float64 `json:"client_cpu"`
	Total     int     `json:"total"`
}

func (l *load) run(w *wiring) error {
	call := l.call(w.client())
	// Alone, so that the registry is asked once.
	if err := call(); err != nil {
		return err
	}
	warm, err := l.repeat(call, warmUp)
	if err != nil {
		return err
	}
	cpu := processTime()
	began := time.Now()
	latencies, err := l.repeat(call, l.duration)
	if err != nil {
		return err
	}
	took := time.Since(began)
	cpu = processTime() - cpu
	slices.Sort(latencies)
	line, err := json.Marshal(result{
		Rate:      float64(len(latencies)) / took.Seconds(),
		P50:       micros(latencies[len(latencies)/2]),
		P99:       micros(latencies[len(latencies)*99/100]),
		ClientCPU: micros(cpu) / float64(len(latencies)),
		Total:     len(warm) + len(latencies),
	})
	printLine(string(line))
	return err
}

func (l *load) call(c client.Client) func() error {
	if l.name == "payload" {
		text := Text{Text: strings.Repeat("x", l.size)}
		return func() error {
			return c.Call(context.Background(), c.NewRequest(service, "Bench.Echo", &text), &Text{})
		}
	}
	question := Question{Name: "ann", Number: 5}
	return func() error {
		return c.Call(context.Background(), c.NewRequest(service, "Bench.Ask", &question), &Answer{})
	}
}

// repeat calls for a time, and gives the time that each call took.
func (l *load) repeat(call func() error, duration time.Duration) ([]time.Duration, error) {
	var group sync.WaitGroup
	latencies := make([][]time.Duration, l.concurrency)
	failures := make([]error, l.concurrency)
	end := time.Now().Add(duration)
	for worker := range l.concurrency {
		group.Add(1)
		go func() {
			defer group.Done()
			for began := time.Now(); began.Before(end); {
				if err := call(); err != nil {
					failures[worker] = fmt.Errorf("a call failed: %w", err)
					return
				}
				now := time.Now()
				latencies[worker] = append(latencies[worker], now.Sub(began))
				began = now
			}
		}()
	}
	group.Wait()
	for _, failure := range failures {
		if failure != nil {
			return nil, failure
		}
	}
	return slices.Concat(latencies...), nil
}

func micros(duration time.Duration) float64 {
	return float64(duration.Nanoseconds()) / 1e3
}

// processTime is the processor's time of this process.
func processTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
