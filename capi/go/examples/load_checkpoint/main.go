// SPDX-License-Identifier: Apache-2.0

// Streams a checkpoint to host memory and prints each tensor as soon as it is there.
//
//	STREAMER_LIBRARY=/path/to/libstreamer.so go run ./go/examples/load_checkpoint URI
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	streamer "libstreamer/capi/go"
)

func run(ctx context.Context, uri string) error {
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
	tensors, bytes := 0, uint64(0)
	err = load.Each(func(tensor *streamer.Tensor) error {
		fmt.Println(tensor.Name(), tensor.DType(), tensor.Shape())
		tensors++
		bytes += tensor.Size()
		return nil
	})
	if err == nil {
		fmt.Printf("%d tensors, %d bytes\n", tensors, bytes)
	}
	return err
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "load_checkpoint URI")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
