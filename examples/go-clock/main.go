// Clock serves the time over HTTP, and what Go offers for looking into a
// running program: expvar and pprof on the same listener.
package main

import (
	"context"
	"errors"
	"expvar"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof" // adds /debug/pprof/ to the default mux
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	// drainWithin is below the 10 s after which a supervisor kills.
	drainWithin = 8 * time.Second
	// leakChunk is how much a leak takes at once.
	leakChunk = 64 << 10
	// leakMax ends a leak before it takes the machine along.
	leakMax = 1 << 30
)

var (
	requests    = expvar.NewInt("clock_requests")
	leakedBytes = expvar.NewInt("clock_leaked_bytes")

	// leaked keeps what the leak took, so that a heap profile shows who holds it.
	leaked [][]byte
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8070", "address to serve HTTP on")
	leak := flag.Int("leak", 0, "bytes to leak each second, up to 1 GiB; 0 leaks none")
	flag.Parse()
	log.SetOutput(os.Stdout)
	if err := run(*listen, *leak); err != nil {
		log.Printf("error: %v", err)
		os.Exit(1)
	}
	log.Print("stopped")
}

func run(listen string, leakPerSecond int) error {
	// Windows has no TERM; Go gives Ctrl-Break as os.Interrupt there.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()

	http.HandleFunc("/", serveTime)
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	// No write timeout: a profile is written for as long as it is taken.
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	log.Printf("listening on %s", listener.Addr())
	if leakPerSecond > 0 {
		log.Printf("leaking %d bytes each second", leakPerSecond)
		go leakMemory(ctx, leakPerSecond)
	}

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Print("draining")
	drain, done := context.WithTimeout(context.Background(), drainWithin)
	defer done()
	if err := server.Shutdown(drain); errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("requests were still under way %s after the stop", drainWithin)
	} else if err != nil {
		return err
	}
	return nil
}

// serveTime answers with the time, in the zone that ?zone= names.
func serveTime(w http.ResponseWriter, r *http.Request) {
	requests.Add(1)
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	zone, err := time.LoadLocation(r.URL.Query().Get("zone"))
	if err != nil {
		http.Error(w, "no such zone", http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, time.Now().In(zone).Format(time.RFC3339Nano))
}

// leakMemory takes memory that is never given back and writes to all of it:
// pages that are only promised show in no resident size.
func leakMemory(ctx context.Context, perSecond int) {
	const ticksPerSecond = 10
	ticker := time.NewTicker(time.Second / ticksPerSecond)
	defer ticker.Stop()
	for due := 0; leakedBytes.Value() < leakMax; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due += perSecond / ticksPerSecond; due >= leakChunk; due -= leakChunk {
			chunk := make([]byte, leakChunk)
			for i := range chunk {
				chunk[i] = 0xA5
			}
			leaked = append(leaked, chunk)
			leakedBytes.Add(leakChunk)
		}
	}
}
