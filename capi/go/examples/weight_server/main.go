// SPDX-License-Identifier: Apache-2.0

// A server as inference servers are: it answers at once, loads its weights meanwhile, and says when it is
// ready.
//
//	STREAMER_LIBRARY=/path/to/libstreamer.so go run ./go/examples/weight_server URI PORT
//
//	GET /health         200 ready; 503 and how far it is; 500 and what failed
//	GET /tensors/NAME   the bytes of a tensor, as soon as it is there
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	streamer "libstreamer/capi/go"
)

type weights struct {
	sync.RWMutex
	tensors map[string]*streamer.Tensor
	isOver  bool
	err     error
}

func (w *weights) load(ctx context.Context, uri string) error {
	library, err := streamer.Open("")
	if err != nil {
		return err
	}
	checkpoint, err := library.OpenCheckpoint(ctx, []string{uri}, nil)
	if err != nil {
		return err
	}
	defer checkpoint.Close()
	load, err := checkpoint.Load(ctx, streamer.LoadOptions{})
	if err != nil {
		return err
	}
	defer load.Close()
	for load.Next() {
		tensor := load.Tensor() // never released: the server needs it as long as it runs
		w.Lock()
		w.tensors[tensor.Name()] = tensor
		w.Unlock()
	}
	return load.Err()
}

func (w *weights) health(answer http.ResponseWriter, _ *http.Request) {
	w.RLock()
	defer w.RUnlock()
	switch {
	case w.err != nil:
		http.Error(answer, w.err.Error(), http.StatusInternalServerError)
	case !w.isOver:
		text := fmt.Sprintf("loading: %d tensors are there", len(w.tensors))
		http.Error(answer, text, http.StatusServiceUnavailable)
	default:
		fmt.Fprint(answer, "ready")
	}
}

func (w *weights) tensor(answer http.ResponseWriter, request *http.Request) {
	w.RLock()
	tensor := w.tensors[strings.TrimPrefix(request.URL.Path, "/tensors/")]
	w.RUnlock()
	if tensor == nil {
		http.Error(answer, "no such tensor yet", http.StatusNotFound)
		return
	}
	answer.Header().Set("Content-Length", fmt.Sprint(tensor.Size()))
	answer.Write(tensor.Bytes())
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("weight_server URI PORT")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	held := &weights{tensors: map[string]*streamer.Tensor{}}
	loaded := make(chan struct{})
	go func() {
		err := held.load(ctx, os.Args[1])
		held.Lock()
		held.isOver, held.err = true, err
		held.Unlock()
		close(loaded)
	}()
	routes := http.NewServeMux()
	routes.HandleFunc("/health", held.health)
	routes.HandleFunc("/tensors/", held.tensor)
	server := &http.Server{Handler: routes}
	go func() {
		<-ctx.Done()
		server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-loaded
}
